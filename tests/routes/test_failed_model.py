"""Callers who wait for a model that cannot be loaded, or for a turn that does not come."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from shared.job import CacheWord
from tests.routes.conftest import Deployment
from tests.support.app import application, client_of, serving
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.fake_service import FakeService

FIRST = "job_00000000000000000000000000000001"
REASON = "The model sightline/tiny cannot be loaded: out of memory"
CHATS, HF = "/v1/chat/completions", "/models/sightline/tiny"
CHAT: dict[str, Any] = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What?"}]}
INPUTS: dict[str, Any] = {"inputs": "What?"}
RESPONSE: dict[str, Any] = {"model": "sightline/tiny", "input": "What?"}
DOORS = [
    pytest.param(path, body | {"stream": stream}, id=f"{path}-{stream}")
    for path, body in ((CHATS, CHAT), (HF, INPUTS))
    for stream in (False, True)
]


def much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain has done so for a day."""
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 86_400)
    monkeypatch.setattr("api.answers.event_stream.time", later)


def said(call: Exchange) -> str:
    body = json.loads(call.body)
    return str(body["error"]["message"] if isinstance(body["error"], dict) else body["error"])


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_a_caller_who_waits_for_a_model_hears_of_its_failure(path: str, body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, body, path, x_wait_for_model="true")
        await service.submitted.wait()
        service.lose_model(FIRST, "out of memory")
        await call.finish()
        await service.cancelled.wait()

    assert (call.status, said(call), call.headers["x-should-retry"]) == (500, REASON, "false")


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_a_caller_who_comes_back_keeps_its_place_meanwhile(path: str, body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, body, path, x_wait_for_model="true", idempotency_key="k")
        await service.submitted.wait()
        service.lose_model(FIRST, "out of memory")
        await call.finish()

    assert (call.status, service.views[FIRST].status) == (500, "queued")


@pytest.mark.parametrize(("path", "body"), [(CHATS, CHAT), (HF, INPUTS), ("/v1/responses", RESPONSE)])
async def test_a_stream_that_has_opened_ends_with_the_error(path: str, body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service, head_start_s=0.001) as app:
        call = posted(app, {**body, "stream": True}, path, x_wait_for_model="true")
        await call.until(lambda e: e.status == 200)
        service.lose_model(FIRST, "out of memory")
        await call.finish()

    last = data(call.body)[-1]
    assert last["error"]["code"] == "model_failed"
    if body is RESPONSE:
        assert (last["type"], last["code"], last["message"]) == ("error", "model_failed", REASON)
        assert last["sequence_number"] == 2, "behind created and in_progress, which were not sent yet"


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_a_call_past_its_limit_names_the_job_that_goes_on(path: str, body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service, sync_limit_s=0.01) as app:
        call = posted(app, body, path)
        await call.finish()

    assert (call.status, call.headers["retry-after"]) == (504, "1")
    assert said(call) == f"No answer within 0.01 s (SIGHTLINE_API__SYNC_LIMIT_S); /v1/jobs/{FIRST} goes on."
    assert service.views[FIRST].status == "queued"


async def test_a_stream_that_has_opened_and_never_begins_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with application(FakeService(), head_start_s=0.001) as app:
        call = posted(app, {**CHAT, "stream": True})
        await call.until(lambda e: e.status == 200)
        much_later(monkeypatch)
        await call.finish()

    assert (call.status, data(call.body)[-1]["error"]["code"]) == (200, "wait_exceeded")


async def test_a_stream_that_has_begun_takes_its_time() -> None:
    service = FakeService()
    service.script = service.run
    async with application(service, sync_limit_s=0.001, keepalive_s=0.001) as app:
        call = posted(app, {**CHAT, "stream": True})
        await call.until(lambda e: e.body.count(b": running") > 2)
        service.succeed(FIRST, "A cat.")
        await call.finish()

    assert (call.status, data(call.body)[-1]) == (200, "[DONE]")


async def test_a_stream_that_nobody_goes_on_with_ends_like_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, {**CHAT, "stream": True})
        await service.submitted.wait()
        service.run(FIRST)
        service.say(FIRST, "A ")
        service.lose_worker(FIRST)
        await call.until(lambda e: b"A " in e.body)
        much_later(monkeypatch)
        await call.finish()

    assert data(call.body)[-1]["error"]["code"] == "wait_exceeded"
    assert service.views[FIRST].status == "running"


@pytest.mark.parametrize(
    ("cache", "headers", "repeats"),
    [("MISS", {}, None), ("BYPASS", {}, "false"), ("BYPASS", {"idempotency_key": "k"}, None)],
)
async def test_a_client_does_not_have_an_answer_computed_again_that_a_repeat_cannot_wait_for(
    cache: CacheWord, headers: dict[str, str], repeats: str | None
) -> None:
    service = FakeService()
    service.cache = cache
    async with application(service, sync_limit_s=0.01) as app:
        call = posted(app, CHAT, **headers)
        await call.finish()

    assert (call.status, call.headers.get("x-should-retry")) == (504, repeats)


async def test_an_accepted_job_waits_for_the_model_to_be_mended() -> None:
    service = FakeService()
    async with serving(service) as client:
        await client.post("/v1/jobs", json=CHAT)
        service.lose_model(FIRST, "out of memory")
        waited = await client.get(f"/v1/jobs/{FIRST}?wait=1")
        service.succeed(FIRST, "A cat.")
        mended = await client.get(f"/v1/jobs/{FIRST}")

    assert (waited.status_code, waited.json()["status"]) == (200, "queued")
    assert mended.json()["status"] == "succeeded"


@pytest.mark.parametrize("deployment", [{"api": {"keepalive_s": 0.01}}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_store_tells_who_waits_that_the_load_failed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr("api.jobs.waiting.POLL_S", 0.01)
    deployment.worker.beat("loading")
    call = posted(deployment.app, {**CHAT, "stream": stream}, x_wait_for_model="true")
    async with client_of(deployment.app) as client:
        while not (queued := (await client.get("/v1/jobs")).json()["data"]):
            assert call.status == 0, call.body
        deployment.worker.beat("gone", failed="out of memory")
        await call.finish()
        job = await client.get(queued[0]["urls"]["self"] + "?wait=60")

    assert (call.status, said(call)) == (500, REASON)
    assert job.json()["status"] == "cancelled"
