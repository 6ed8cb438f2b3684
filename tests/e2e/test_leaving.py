"""Callers who change their mind or hang up free the model for others; those who will come back do not."""

from itertools import islice

import httpx

from tests.e2e.conftest import SLOW
from tests.support.clients import Api, sent_events, until
from tests.support.service import Service

LONG = " ".join(f"word{n}" for n in range(600))
"""A minute's work: whoever waits behind it to its end fails."""


def newest(api: Api, status: str) -> str:
    """The newest job of the slow model once it has this status."""
    query: dict[str, str | int] = {"limit": 1, "model": SLOW}
    seen = until(
        lambda: [j for j in api.get("/v1/jobs", params=query).json()["data"] if j["status"] == status]
    )
    return str(seen[0]["id"])


def hang_up(service: Service, question: str, headers: dict[str, str]) -> str:
    """The job of a synchronous caller who goes once it runs."""
    with Api(service.url("api-2")) as caller:
        body = {"model": SLOW, "messages": [{"role": "user", "content": question}], "stream": True}
        with caller.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply:
            next(sent_events(reply.iter_lines()))
            return str(reply.headers["x-job-id"])


def test_cancelling_a_running_job_frees_its_worker(api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": LONG})
    api.running(job)
    queued = api.submit(model=SLOW, input={"prompt": "next"})
    assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert api.ended(queued)["result"]["text"] == "next"
    assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled", "twice is harmless"
    assert api.events(job)[-1].name == "cancelled"


def test_a_queued_job_is_cancelled_at_once(service: Service, api: Api) -> None:
    threads = service.models.resolve(SLOW).threads
    running = [api.submit(model=SLOW, input={"prompt": f"{LONG} {n}"}) for n in range(threads)]
    for job in running:
        api.running(job)
    queued = api.submit(model=SLOW, input={"prompt": "never"})
    assert api.post(f"/v1/jobs/{queued}/cancel").json()["status"] == "cancelled"
    assert [e.name for e in api.events(queued)] == ["queued", "cancelled"]
    for job in running:
        assert api.delete(f"/v1/jobs/{job}").status_code == 204
        assert api.get(f"/v1/jobs/{job}").status_code == 404


def test_a_caller_who_hangs_up_cancels_the_job(service: Service, api: Api) -> None:
    job = hang_up(service, LONG + " hung up", {})
    until(lambda: api.job(job)["status"] == "cancelled")


def test_a_caller_who_times_out_waiting_for_the_whole_answer_cancels_the_job(api: Api) -> None:
    try:
        limits = httpx.Timeout(60, read=1)
        api.post(f"/models/{SLOW}", json={"inputs": LONG + " timed out"}, timeout=limits)
    except httpx.ReadTimeout:
        newest(api, "cancelled")
    else:
        raise AssertionError("the answer cannot have been ready")


def test_a_caller_with_an_idempotency_key_may_come_back_for_the_answer(service: Service, api: Api) -> None:
    question = " ".join(f"kept{n}" for n in range(20))
    job = hang_up(service, question, {"idempotency-key": "mine"})
    assert api.ended(job)["result"]["text"] == question


def test_a_job_is_nobodys_connection(service: Service, api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": " ".join(f"mine{n}" for n in range(15))})
    with Api(service.url("api-2")) as other, other.stream("GET", f"/v1/jobs/{job}/events") as reply:
        list(islice(sent_events(reply.iter_lines()), 3))
    assert api.ended(job)["status"] == "succeeded"
