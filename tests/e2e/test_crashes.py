"""Accepted means kept: any process may die at any moment."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, sent_events, told, until
from tests.support.metrics import total
from tests.support.service import COURIER, Service


def words(name: str, count: int = 15) -> str:
    return " ".join(f"{name}{n}" for n in range(count))


def test_a_synchronous_caller_of_a_killed_api_process_finds_the_answer_when_asking_again(
    service: Service, api: Api
) -> None:
    body, before = {"inputs": words("again", 35)}, running(api)
    with ThreadPoolExecutor(1) as pool, Api(service.url("api-2")) as other:
        asked = pool.submit(other.post, f"/models/{SLOW}", json=body)
        until(lambda: running(api) - before)
        service.kill("api-2")
        assert isinstance(asked.exception(), httpx.TransportError)
    reply = api.post(f"/models/{SLOW}", json=body)
    assert reply.json() == [{"generated_text": body["inputs"]}]
    assert reply.headers["x-cache"] in ("COALESCED", "HIT")


def running(api: Api) -> set[str]:
    """The jobs that the slow model is at."""
    asked = {"status": "running", "model": SLOW}
    return {job["id"] for job in api.get("/v1/jobs", params=asked).json()["data"]}


def test_jobs_accepted_before_the_record_store_is_killed_end_after_its_restart(
    service: Service, api: Api
) -> None:
    prompts = [words(f"store-{n}-", 5 if n else 35) for n in range(3)]
    jobs = [api.submit(model=SLOW, input={"prompt": prompt}) for prompt in prompts]
    api.running(jobs[0])
    service.redis.kill()
    refused = api.post("/v1/jobs", json={"model": SLOW, "input": {"prompt": "not now"}})
    assert refused.status_code == 503
    assert refused.json()["code"] == "store_unavailable"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert api.get("/health").json() == {
        "status": "ok",
        "store": "unreachable",
        "blobs": {"kind": "folder", "state": "reachable"},
    }
    service.redis.start()
    assert [api.ended(job)["result"]["text"] for job in jobs] == prompts
    assert api.ended(api.submit(model=ECHO, input={"prompt": "as before"}))["status"] == "succeeded"


REFUSED = "; next try in 2.0 s"
REFUSALS = {
    "READONLY": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "NOREPLICAS": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
}


@pytest.mark.parametrize("word", REFUSALS)
def test_a_record_store_that_refuses_writes_for_a_while_ends_no_worker_and_no_courier(
    service: Service, api: Api, word: str
) -> None:
    """As one does whose disk is full: a model would be loaded again, and what was computed is lost."""
    names = (ECHO, COURIER)
    begun = [(service.processes[name].pid, len(service.log(name))) for name in names]
    refuse, mend = REFUSALS[word]
    with Redis.from_url(service.redis.url()) as client:
        client.execute_command(*refuse.split())
        try:
            for name, (_, start) in zip(names, begun, strict=True):
                until(lambda name=name, start=start: REFUSED in service.log(name)[start:])  # type: ignore[misc]
            until(lambda: health(api).get("store") == "read_only")
        finally:
            client.execute_command(*mend.split())
    assert api.ended(api.submit(model=ECHO, input={"prompt": words(word)}))["status"] == "succeeded"
    assert all(service.processes[name].alive for name in names)
    assert [service.processes[name].pid for name in names] == [pid for pid, _ in begun]


def test_jobs_wait_for_a_courier_that_died_while_it_fetched(service: Service, api: Api) -> None:
    service.kill(COURIER)
    job = api.submit(model=ECHO, input={"prompt": "look", "image": service.url("api-2") + "/health"})
    assert api.job(job)["waiting_reason"] == "fetching_inputs"
    service.start(COURIER)
    assert api.ended(job)["error"]["code"] == "invalid_image"


def test_a_stopping_worker_gives_back_what_it_cannot_finish(service: Service, api: Api) -> None:
    long = words("drain", 35)
    job = api.submit(model=SLOW, input={"prompt": long})
    api.running(job)
    service.processes[SLOW].terminate()
    assert service.processes[SLOW].wait() == 0
    service.start(SLOW)
    ended = api.ended(job)
    assert ended["result"]["text"] == long
    assert [a["outcome"] for a in ended["attempts"]] == ["worker_draining", "succeeded"]


def test_processes_started_before_the_record_store_serve_once_it_is_there(service: Service, api: Api) -> None:
    for name in ("api", COURIER, SLOW):
        service.kill(name)
    service.redis.kill()
    service.start("api", COURIER, SLOW)
    until(lambda: health(api).get("store") == "unreachable")
    service.redis.start()
    service.ready("api", COURIER, SLOW)
    with api.stream(
        "GET", f"/v1/jobs/{api.submit(model=SLOW, input={'prompt': words('late')})}/events"
    ) as reply:
        assert told(sent_events(reply.iter_lines())) == words("late")


def health(api: Api) -> dict[str, str]:
    """Empty until the process answers at all."""
    try:
        return dict(api.get("/health").json())
    except httpx.TransportError:
        return {}


def test_a_worker_that_was_paused_too_long_does_not_write_over_the_one_that_took_over(
    service: Service, api: Api
) -> None:
    question = words("paused", 35)
    job = api.submit(model=SLOW, input={"prompt": question})
    api.running(job)
    paused = service.processes.pop(SLOW)
    os.kill(paused.pid, signal.SIGSTOP)
    try:
        service.processes[SLOW] = service.worker(service.models.resolve(SLOW))
        service.ready(SLOW)
        until(lambda: len(api.job(job)["attempts"]) == 2)
    finally:
        os.kill(paused.pid, signal.SIGCONT)
    assert api.ended(job)["result"]["text"] == question
    paused.terminate()
    assert paused.wait() == 0
    assert told(api.events(job)) == question
    assert [a["outcome"] for a in api.job(job)["attempts"]] == ["worker_lost", "succeeded"]


def test_each_process_counts_what_it_did_itself(service: Service, api: Api) -> None:
    def counted() -> list[float]:
        pages = (service.caller.get(f"{service.url(of)}/metrics").text for of in ("api", "api-2"))
        return [total(page, "sightline_jobs_admitted_total", model=SLOW) for page in pages]

    first, second = counted()
    api.ended(api.submit(model=SLOW, input={"prompt": "one"}))
    assert counted() == [first + 1, second]
