"""What callers learn from headers of a job that is not admitted yet when it is submitted."""

from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, posted
from tests.support.clients import until_async

URL = "https://example.com/cat.png"
PARTS = [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "What?"}]
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": PARTS}]}
HF = {"inputs": {"image": URL, "text": "What?"}}
JOB = {"model": "sightline/tiny", "input": {"prompt": "What?", "image": URL}}


async def _fetching(deployment: Deployment) -> str:
    """The path of the job whose picture is waited for."""
    async with client_of(deployment.app) as client:

        async def waiting() -> Any:
            jobs = (await client.get("/v1/jobs")).json()["data"]
            return jobs and jobs[0]["waiting_reason"] == "fetching_inputs" and jobs[0]["urls"]["self"]

        return str(await until_async(waiting))


def _answer(deployment: Deployment) -> None:
    assert deployment.worker.take_in() == "queued"
    claim = deployment.worker.take()
    deployment.worker.say(claim, "A cat.")
    deployment.worker.succeed(claim, "A cat.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(("/v1/chat/completions", CHAT | {"stream": stream}) for stream in (False, True)),
        *(("/models/sightline/tiny", HF | {"stream": stream}) for stream in (False, True)),
        ("/v1/jobs", JOB),
    ],
)
async def test_an_answer_says_what_the_cache_did(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    deployment.worker.beat()
    headers = {"prefer": "wait=30"} if path == "/v1/jobs" else {}
    call = posted(deployment.app, body, path, **headers)
    await _fetching(deployment)
    _answer(deployment)
    await call.finish()

    assert (call.status, call.headers["x-cache"]) == (200, "MISS")
    told = not body.get("stream")
    assert ("x-compute-time" in call.headers, "x-queue-time" in call.headers) == (told, told)


async def test_the_events_of_a_job_that_was_fetched_say_what_the_cache_did(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
    events = Exchange(deployment.app, "GET", job["urls"]["events"]).start()

    async def connected() -> bool:
        ((_, listeners),) = deployment.worker.store.client.pubsub_numsub(f"sl9:wake:{job['id']}")
        return bool(listeners)

    await until_async(connected)
    _answer(deployment)
    await events.finish()

    assert (events.status, events.headers["x-cache"]) == (200, "MISS")


async def test_a_wait_for_a_remote_picture_in_vain_says_which_job_it_was(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, JOB, "/v1/jobs", prefer="wait=30")
    path = await _fetching(deployment)
    async with client_of(deployment.app) as client:
        await client.post(f"{path}/cancel")
    await call.finish()

    assert (call.status, f"/v1/jobs/{call.headers['x-job-id']}") == (200, path)
    assert "x-cache" not in call.headers
