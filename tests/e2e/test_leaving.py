"""Callers who hang up free the model for others; all ways to leave: tests/routes."""

from tests.e2e.conftest import SLOW
from tests.support.clients import Api, sent_events
from tests.support.service import Service

LONG = " ".join(f"word{n}" for n in range(600))
"""A minute's work: whoever waits behind it to its end fails."""


def test_a_caller_who_hangs_up_cancels_the_job_and_frees_its_worker(service: Service, api: Api) -> None:
    body = {"model": SLOW, "messages": [{"role": "user", "content": LONG}], "stream": True}
    with (
        Api(service.url("api-2")) as caller,
        caller.stream("POST", "/v1/chat/completions", json=body) as reply,
    ):
        next(sent_events(reply.iter_lines()))
        queued = api.submit(model=SLOW, input={"prompt": "next"})
    assert api.ended(queued)["result"]["text"] == "next"
    assert api.events(reply.headers["x-job-id"])[-1].name == "cancelled"
