"""Requests for several answers take a row for each: no worker holds them while another idles."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import STALL, TINY, WIDE
from tests.support.clients import Api, until
from tests.support.processes import Process
from tests.support.service import Service


@contextmanager
def another_worker(service: Service) -> Iterator[Process]:
    worker = service.worker(service.models.resolve(WIDE))
    worker.start()
    try:
        yield worker
    finally:
        worker.end()


def ask(api: Api, text: str) -> str:
    """More answers than the model has rows; they are drawn, so that each takes a row of its own."""
    return api.submit(model=WIDE, input={"prompt": text}, parameters={"n": 8, "temperature": 1.0})


def worker_of(api: Api, job: str) -> str | None:
    """Who computes it now; None where it waits."""
    tries = api.job(job)["attempts"]
    return str(tries[-1]["worker"]) if tries and tries[-1]["ended_at"] is None else None


def cancel(api: Api, *jobs: str) -> None:
    for job in jobs:
        assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"


def test_wide_requests_are_shared_by_all_workers_and_outlive_one_of_them(service: Service, api: Api) -> None:
    service.ready(WIDE)
    with another_worker(service) as other:
        *begun, third = [ask(api, f"{STALL} {number}") for number in range(3)]
        until(lambda: all(worker_of(api, job) for job in begun))
        by = {worker_of(api, job): job for job in begun}
        assert len(by) == 2, "one worker holds both while the other idles"
        assert worker_of(api, third) is None
        model = next(row for row in api.get("/v1/admin/fleet").json()["models"] if row["model"] == WIDE)
        assert model["backlog"] == 24, "who scales the workers is told of the rows"
        lost = next(by[worker["id"]] for worker in model["workers"] if worker["pid"] == other.pid)

        other.kill()
        until(lambda: worker_of(api, lost) is None)
        cancel(api, *(job for job in begun if job != lost))
        until(lambda: worker_of(api, lost))
        assert [tried["outcome"] for tried in api.job(lost)["attempts"]] == ["worker_lost", None]
        assert worker_of(api, third) is None, "it came later"

        last = ask(api, "after all")
        cancel(api, lost, third)
        assert [choice["text"] for choice in api.ended(last)["result"]["choices"]] == ["after all"] * 8
    service.processes[WIDE].end()


def test_more_answers_than_the_model_has_rows_are_given_in_turns(api: Api) -> None:
    drawn = {"temperature": 3.0, "seed": 4, "max_new_tokens": 12}
    body = {"inputs": "Hello", "parameters": {"num_return_sequences": 8, **drawn}}
    answers = api.post(f"/models/{TINY}", json=body).json()
    assert len({answer["generated_text"] for answer in answers}) > 4
    assert len(answers) == 8
