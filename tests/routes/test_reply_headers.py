"""What callers learn from headers of a job that is not admitted yet when it is submitted."""

from typing import Any

import pytest

from tests.routes.conftest import Stage
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, posted
from tests.support.clients import until_async

URL = "https://example.com/cat.png"
PARTS = [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "What?"}]
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": PARTS}]}
HF = {"inputs": {"image": URL, "text": "What?"}}
JOB = {"model": "sightline/tiny", "input": {"prompt": "What?", "image": URL}}


async def _fetching(stage: Stage) -> str:
    """The path of the job whose picture is waited for."""
    async with client_of(stage.app) as client:

        async def waiting() -> Any:
            jobs = (await client.get("/v1/jobs")).json()["data"]
            return jobs and jobs[0]["waiting_reason"] == "fetching_inputs" and jobs[0]["urls"]["self"]

        return str(await until_async(waiting))


def _answer(stage: Stage) -> None:
    assert stage.hand.take_in() == "queued"
    claim = stage.hand.take()
    stage.hand.say(claim, "A cat.")
    stage.hand.succeed(claim, "A cat.")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/models/sightline/tiny", HF)])
async def test_a_remote_pictures_answer_says_what_the_cache_did(
    stage: Stage, path: str, body: dict[str, Any], stream: bool
) -> None:
    stage.hand.beat()
    call = posted(stage.app, {**body, "stream": stream}, path)
    await _fetching(stage)
    _answer(stage)
    await call.finish()

    assert (call.status, call.headers["x-cache"]) == (200, "MISS")
    assert ("x-compute-time" in call.headers, "x-queue-time" in call.headers) == (not stream, not stream)


async def test_the_events_of_a_job_with_a_remote_picture_say_what_the_cache_did(stage: Stage) -> None:
    stage.hand.beat()
    async with client_of(stage.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
    events = Exchange(stage.app, "GET", job["urls"]["events"]).start()

    async def connected() -> bool:
        ((_, listeners),) = stage.hand.store.client.pubsub_numsub(f"sl5:wake:{job['id']}")
        return bool(listeners)

    await until_async(connected)
    _answer(stage)
    await events.finish()

    assert (events.status, events.headers["x-cache"]) == (200, "MISS")


async def test_a_job_that_is_waited_for_says_how_it_was_answered(stage: Stage) -> None:
    stage.hand.beat()
    call = posted(stage.app, JOB, "/v1/jobs", prefer="wait=30")
    await _fetching(stage)
    _answer(stage)
    await call.finish()

    assert (call.status, call.headers["x-cache"], call.headers["x-compute-time"]) == (200, "MISS", "0.250")
    assert float(call.headers["x-queue-time"]) >= 0


async def test_a_wait_for_a_remote_picture_in_vain_still_says_which_job_it_was(stage: Stage) -> None:
    stage.hand.beat()
    call = posted(stage.app, JOB, "/v1/jobs", prefer="wait=30")
    path = await _fetching(stage)
    async with client_of(stage.app) as client:
        await client.post(f"{path}/cancel")
    await call.finish()

    assert (call.status, f"/v1/jobs/{call.headers['x-job-id']}") == (200, path)
    assert "x-cache" not in call.headers
