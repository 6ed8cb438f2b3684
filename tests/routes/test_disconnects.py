"""Callers who hang up before their answer."""

import asyncio
import gc
from typing import Any

import httpx
import pytest

from api.jobs.disconnects import Disconnects
from shared.errors import CallerError, Unavailable
from shared.job import JobView
from tests.support.app import application
from tests.support.app_server import listening
from tests.support.asgi_exchange import data, posted
from tests.support.fake_service import FakeService
from tests.support.patience import PATIENCE_S

CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
STREAM = {**CHAT, "stream": True}
FIRST = "job_00000000000000000000000000000001"
CHATS = "/v1/chat/completions"
RESPONSE = {"model": "sightline/tiny", "input": "What is this?"}
INPUTS = {"inputs": "What is this?"}
DOORS = [
    pytest.param(path, body | {"stream": stream}, id=f"{path}-{stream}")
    for path, body in ((CHATS, CHAT), ("/v1/responses", RESPONSE), ("/models/sightline/tiny", INPUTS))
    for stream in (False, True)
]


async def hung_up(service: FakeService, body: dict[str, Any], path: str = CHATS) -> None:
    """A call that its caller leaves once it is a job; it frees the row."""
    async with application(service) as app:
        call = posted(app, body, path)
        await service.submitted.wait()
        call.hang_up()
        await call.finish()
        await service.cancelled.wait()

    assert service.views[FIRST].status == "cancelled"


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_a_caller_who_hangs_up_frees_the_row(path: str, body: dict[str, Any]) -> None:
    await hung_up(FakeService(), body, path)


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_a_reader_who_leaves_or_whose_stream_breaks_off_frees_the_row(*, breaks_off: bool) -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, STREAM)
        await service.submitted.wait()
        service.say(FIRST, "A ")
        await call.until(lambda e: b'"A "' in e.body)
        service.breaks_off = breaks_off
        if not breaks_off:
            call.hang_up()
        await call.finish()
        await service.cancelled.wait()

    assert service.views[FIRST].status == "cancelled"
    assert not breaks_off or data(call.body)[-1]["error"]["code"] == "stream_broken"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_caller_with_a_key_may_come_back_for_the_answer(body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service) as app:
        for headers in ({"idempotency_key": "k-1"}, {}):
            service.submitted.clear()
            call = posted(app, body, **headers)
            await service.submitted.wait()
            call.hang_up()
            await call.finish()
        # The second caller's leaving comes behind the first's, had there been one.
        await service.cancelled.wait()

    assert [view.status for view in service.views.values()] == ["queued", "cancelled"]


class Lost(FakeService):
    """Its store goes away while callers wait."""

    async def until_ended(self, view: JobView, timeout_s: float, over: Any) -> JobView:  # noqa: ARG002
        raise Unavailable("store_unavailable", "out of reach")


async def test_a_call_with_a_key_keeps_its_job_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[str] = []
    monkeypatch.setattr(Disconnects, "cancel_later", lambda _, job, **__: left.append(job.id))
    service = Lost()
    async with application(service) as app:
        for headers in ({"idempotency_key": "k-1"}, {}):
            call = posted(app, CHAT, **headers)
            await call.finish()
            assert call.status == 503
    assert left == [list(service.views)[1]]


class Deleted(FakeService):
    """Whoever would cancel a job comes too late."""

    async def cancel(self, caller: str, job_id: str, abandoned: int | None = None) -> JobView:  # noqa: ARG002
        self.cancelled.set()
        raise CallerError("job_not_found", "There is no such job.")


async def test_a_caller_who_leaves_a_job_that_is_deleted_meanwhile_alarms_nobody() -> None:
    alarms: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: alarms.append(about))
    service = Deleted()
    async with application(service) as app:
        call = posted(app, CHAT)
        await service.submitted.wait()
        call.hang_up()
        await call.finish()
        await service.cancelled.wait()
    # A task that failed unheard says so as it is forgotten.
    gc.collect()
    assert alarms == []


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_when_this_process_stops_nobody_leaves(body: dict[str, Any]) -> None:
    service = FakeService()
    async with application(service, leave_grace_s=3600) as app:
        call = posted(app, body)
        await service.submitted.wait()
        call.hang_up()
        await call.finish()

    assert service.views[FIRST].status == "queued"
    assert [t for t in asyncio.all_tasks() if t.get_name().startswith("leave ")] == []


class Busy(FakeService):
    """Its store is away for the first two who would cancel."""

    refusals = 2

    async def cancel(self, caller: str, job_id: str, abandoned: int | None = None) -> JobView:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("store_unavailable", "out of reach", retry_after=5)
        return await super().cancel(caller, job_id, abandoned)


async def test_a_caller_who_leaves_while_the_store_is_away_frees_the_row_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.jobs.disconnects.backoff_s", lambda _: 0)
    await hung_up(Busy(), CHAT)


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_a_caller_who_is_told_that_the_store_is_away_frees_the_row(
    monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    monkeypatch.setattr("api.jobs.disconnects.backoff_s", lambda _: 0)
    service = FakeService()
    async with application(service) as app:
        call = posted(app, body, path)
        await service.submitted.wait()
        service.lose_store()
        await call.finish()
        service.refusal = None
        await service.cancelled.wait()

    assert (call.status, service.views[FIRST].status) == (503, "cancelled")


async def test_a_caller_who_is_told_to_ask_again_finds_its_run_until_then() -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, CHAT)
        await service.submitted.wait()
        service.lose_store(retry_after=3600)
        await call.finish()
        service.refusal = None
        service.submitted.clear()
        other = posted(app, CHAT)
        await service.submitted.wait()
        other.hang_up()
        await other.finish()
        # It would come behind the first one's leaving.
        await service.cancelled.wait()

    assert [view.status for view in service.views.values()] == ["queued", "cancelled"]


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_who_waited_too_long_does_not_lose_the_job_that_goes_on(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[JobView] = []
    monkeypatch.setattr(Disconnects, "cancel_later", lambda _, view, **__: left.append(view))
    async with application(FakeService(), sync_limit_s=0.01) as app:
        call = posted(app, body)
        await call.finish()

    assert (call.status, left) == (504, [])


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [(*door.values, {}) for door in DOORS] + [("/v1/jobs", CHAT, {"prefer": "wait=30"})],
)
async def test_who_still_waits_when_this_process_ends_is_told_so_and_loses_no_job(
    path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    service = FakeService()
    async with (
        application(service, keepalive_s=60, head_start_s=60) as app,
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
    ):
        async with listening(app, timeout_graceful_shutdown=0) as url:
            asking = asyncio.ensure_future(client.post(f"{url}{path}", json=body, headers=headers))
            await service.submitted.wait()
        reply = await asking

    assert (reply.status_code, reply.headers["retry-after"], reply.headers["x-job-id"]) == (503, "1", FIRST)
    assert '"stopping"' in reply.text
    assert service.views[FIRST].status == "queued"
