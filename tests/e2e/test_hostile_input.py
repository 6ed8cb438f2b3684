"""What only a worker can find wrong with a picture is its caller's error, whatever door it came through.

What is refused at the doors: tests/routes and tests/safety.
"""

import base64

import pytest

from tests.e2e.conftest import ECHO
from tests.support.clients import Api
from tests.support.pictures import png

HOLLOW = "data:image/png;base64," + base64.b64encode(png((64, 48), b"\0\1\2")).decode()
"""Sound but for its pixels, which only the worker reads."""
PART = {"type": "image_url", "image_url": {"url": HOLLOW}}
WAITING = {
    "/v1/chat/completions": {"model": ECHO, "messages": [{"role": "user", "content": [PART]}]},
    f"/models/{ECHO}": {"inputs": {"image": HOLLOW, "text": "what is it"}},
}


@pytest.mark.parametrize("path", WAITING)
def test_a_picture_found_broken_by_the_worker_is_the_waiting_callers_error(api: Api, path: str) -> None:
    reply = api.post(path, json=WAITING[path])
    assert reply.status_code == 400, reply.text
    assert "invalid_image" in reply.text
    assert reply.headers["x-job-id"]


def test_a_picture_found_broken_by_the_worker_fails_its_job_at_the_first_attempt(api: Api) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "what is it", "image": HOLLOW}))
    assert job["error"]["code"] == "invalid_image"
    assert len(job["attempts"]) == 1
