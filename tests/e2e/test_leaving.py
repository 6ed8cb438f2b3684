"""Callers who change their mind or hang up free the model for others; all ways to leave: tests/routes."""

from tests.e2e.conftest import SLOW
from tests.support.clients import Api, sent_events, until
from tests.support.service import Service

LONG = " ".join(f"word{n}" for n in range(600))
"""A minute's work: whoever waits behind it to its end fails."""


def test_cancelling_a_running_job_frees_its_worker(api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": LONG})
    api.running(job)
    queued = api.submit(model=SLOW, input={"prompt": "next"})
    assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert api.ended(queued)["result"]["text"] == "next"
    assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled", "twice is harmless"
    assert api.events(job)[-1].name == "cancelled"


def test_a_caller_who_hangs_up_cancels_the_job(service: Service, api: Api) -> None:
    question = {"role": "user", "content": LONG + " hung up"}
    body = {"model": SLOW, "messages": [question], "stream": True}
    with (
        Api(service.url("api-2")) as caller,
        caller.stream("POST", "/v1/chat/completions", json=body) as reply,
    ):
        next(sent_events(reply.iter_lines()))
    job = reply.headers["x-job-id"]
    until(lambda: api.job(job)["status"] == "cancelled")
