"""Callers who change their mind or hang up free the model for others; all ways to leave: tests/routes."""

from itertools import islice

from tests.e2e.conftest import SLOW
from tests.support.clients import Api, sent_events, until
from tests.support.service import Service

LONG = " ".join(f"word{n}" for n in range(600))
"""A minute's work: whoever waits behind it to its end fails."""


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


def test_a_caller_who_hangs_up_cancels_the_job(service: Service, api: Api) -> None:
    job = hang_up(service, LONG + " hung up", {})
    until(lambda: api.job(job)["status"] == "cancelled")


def test_a_job_is_nobodys_connection(service: Service, api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": " ".join(f"mine{n}" for n in range(15))})
    with Api(service.url("api-2")) as other, other.stream("GET", f"/v1/jobs/{job}/events") as reply:
        list(islice(sent_events(reply.iter_lines()), 3))
    assert api.ended(job)["status"] == "succeeded"
