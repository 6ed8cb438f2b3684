"""Too much of one caller's in line: 429 at every door, in the words that its clients slow down for."""

from typing import Any

import openai
import pytest

from tests.routes.conftest import Deployment
from tests.support.app import ROOT, client_of

MODEL = "sightline/tiny"
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}
ONE_PLACE = {"queue": {"max_queued_caller": 1}}
MESSAGE = (
    f"Too many of your requests wait for {MODEL} already: 1 may "
    "(SIGHTLINE_QUEUE__MAX_QUEUED_CALLER, or your key's max_queued), or what leaves others room."
)

pytestmark = pytest.mark.parametrize("deployment", [ONE_PLACE], indirect=True, ids=["one-place"])


async def _fill(deployment: Deployment) -> dict[str, Any]:
    """What takes the only place."""
    deployment.worker.beat()
    first = {"model": MODEL, "messages": [{"role": "user", "content": "First."}]}
    async with client_of(deployment.app) as client:
        assert (await client.post("/v1/jobs", json=first)).status_code == 202
    return first


async def test_each_family_is_told_in_its_own_shape(deployment: Deployment) -> None:
    await _fill(deployment)
    async with client_of(deployment.app) as client:
        job = await client.post("/v1/jobs", json=CHAT)
        chat = await client.post("/v1/chat/completions", json=CHAT)
        raw = await client.post(f"/models/{MODEL}", json={"inputs": "What is this?"})

    assert [r.status_code for r in (job, chat, raw)] == [429] * 3
    assert all(1 <= int(r.headers["retry-after"]) <= 60 for r in (job, chat, raw))
    assert (job.json()["code"], job.json()["retryable"]) == ("caller_queue_full", True)
    assert chat.json()["error"] == {
        "message": MESSAGE,
        "type": "rate_limit_error",
        "param": None,
        "code": "caller_queue_full",
    }
    assert raw.json() == {"error": MESSAGE, "error_type": "caller_queue_full"}
    told = {(r.headers["ratelimit-policy"], r.headers["ratelimit"]) for r in (job, chat, raw)}
    assert told == {('"queued";q=1', '"queued";r=0')}


async def test_nobody_is_told_to_come_back_at_once_to_the_line_of_a_paused_model(
    deployment: Deployment,
) -> None:
    await _fill(deployment)
    async with client_of(deployment.app) as client:
        assert (await client.post(f"/v1/admin/models/{MODEL}/pause")).status_code == 204
        refused = await client.post("/v1/jobs", json=CHAT)
        ready = await client.post("/v1/chat/completions", json=CHAT)

    assert (refused.status_code, ready.status_code) == (429, 503)
    assert refused.headers["retry-after"] == ready.headers["retry-after"] == "59"


async def test_openai_s_client_takes_it_for_a_rate_limit(deployment: Deployment) -> None:
    await _fill(deployment)
    # Any client that speaks as httpx's does.
    http: Any = client_of(deployment.app)
    async with openai.AsyncOpenAI(
        api_key="any", base_url=f"{ROOT}/v1", http_client=http, max_retries=0
    ) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(**CHAT)

    assert (refused.value.code, refused.value.type) == ("caller_queue_full", "rate_limit_error")


async def test_what_needs_no_place_of_its_own_is_not_refused(deployment: Deployment) -> None:
    first = await _fill(deployment)
    async with client_of(deployment.app) as client:
        joined = await client.post("/v1/jobs", json=first)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        assert (await client.post("/v1/jobs", json=CHAT)).status_code == 202
        known = await client.post("/v1/jobs", json=first)

    assert (joined.status_code, joined.headers["x-cache"]) == (202, "COALESCED")
    assert (known.status_code, known.headers["x-cache"]) == (202, "HIT")


async def test_a_scheduled_job_takes_a_place_although_its_time_is_still_to_come(
    deployment: Deployment,
) -> None:
    await _fill(deployment)
    at = int(deployment.worker.store.client.time()[0]) + 60
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/jobs", json=CHAT | {"schedule_at": at})
        deployment.worker.take()
        accepted = await client.post("/v1/jobs", json=CHAT | {"schedule_at": at})
        beside = await client.post("/v1/jobs", json=CHAT)

    assert [r.status_code for r in (refused, accepted, beside)] == [429, 202, 429]
