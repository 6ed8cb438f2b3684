"""Requests for several answers take a row for each: no worker holds them while another idles."""

from tests.e2e.conftest import STALL, WIDE
from tests.support.clients import Api, until
from tests.support.service import Service


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
    other = service.processes["other"] = service.worker(service.models.resolve(WIDE))
    other.start()
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
    other.end()
