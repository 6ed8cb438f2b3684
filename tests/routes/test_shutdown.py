"""A balancer that sends requests to a process that was told to end loses none of them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from api.server import shutdown
from api.server.middleware import RequestMiddleware
from api.server.shutdown import KEY, Shutdown
from tests.routes.conftest import Deployment
from tests.routes.test_kept_alive import CALLS, CHAT, kept_alive
from tests.support.app import serving
from tests.support.app_server import answer
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.clients import until_async
from tests.support.fake_service import FakeService

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
LIMIT_S = 60
SLOW = GET.replace(b"/health", b"/slow") + b"\r\n"


class Running(NamedTuple):
    shutdown: Shutdown
    uvicorn: uvicorn.Server
    task: asyncio.Task[None]
    """Done when it has ended."""
    asked: asyncio.Event
    computed: asyncio.Event
    """Until then /slow has no answer."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.uvicorn.servers[0].sockets[0].getsockname()[1]
        return await asyncio.open_connection("127.0.0.1", port)


@pytest.fixture
async def server(ends: list[int], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:  # noqa: ARG001
    """Its farewell is longer than any test."""
    monkeypatch.setattr(shutdown, "FAREWELL_S", 3600)
    ending, asked, computed = Shutdown(), asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Response:
        asked.set()
        await computed.wait()
        return Response("ok")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Shutdown]]:
        with ending.on_signal():
            yield {KEY: ending}

    routes = [Route("/health", lambda _: Response("ok")), Route("/slow", slow)]
    app = RequestMiddleware(Starlette(routes=routes, lifespan=lifespan))
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    task = asyncio.create_task(running.serve())

    async def started() -> bool:
        return running.started

    await until_async(started)
    yield Running(ending, running, task, asked, computed)
    running.should_exit = True
    await asyncio.wait_for(task, LIMIT_S)


async def test_what_is_sent_meanwhile_is_answered_and_told_to_go_elsewhere(server: Running) -> None:
    kept, kept_writer = await server.connect()
    kept_writer.write(GET + b"\r\n")
    assert b"connection: close" not in await asyncio.wait_for(kept.readuntil(b"ok"), LIMIT_S)
    signal.raise_signal(signal.SIGTERM)

    async def begun() -> bool:
        return server.shutdown.begun

    await until_async(begun)
    new, new_writer = await server.connect()
    for reader, writer in ((kept, kept_writer), (new, new_writer)):
        writer.write(GET + b"\r\n")
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        writer.close()
    assert not server.uvicorn.should_exit
    # A second signal ends it at once.
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(server.task, LIMIT_S)


async def _stopping_with_a_caller(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    monkeypatch.setattr(shutdown, "FAREWELL_S", 0)
    reader, writer = await server.connect()
    writer.write(SLOW)
    await asyncio.wait_for(server.asked.wait(), LIMIT_S)
    signal.raise_signal(signal.SIGTERM)

    async def closed() -> bool:
        return not server.uvicorn.servers[0].is_serving()

    await until_async(closed)
    return reader, writer


async def test_who_waits_for_an_answer_gets_it_of_a_process_that_takes_nobody_else(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await _stopping_with_a_caller(server, monkeypatch)
    server.computed.set()
    status, headers, body = await answer(reader)
    assert (status, headers["connection"], body) == (200, "close", b"ok")
    await asyncio.wait_for(server.task, LIMIT_S)
    writer.close()


async def test_a_caller_hears_that_the_process_waits_no_longer(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.uvicorn.config.timeout_graceful_shutdown = 0
    reader, writer = await _stopping_with_a_caller(server, monkeypatch)
    status, headers, body = await answer(reader)
    assert (status, headers["retry-after"]) == (503, "1")
    assert b"This process is stopping" in body
    await asyncio.wait_for(server.task, LIMIT_S)
    writer.close()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_nobody_waits_for_a_process_that_nobody_asks(server: Running, ends: list[int]) -> None:
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(server.task, LIMIT_S)
    assert ends == [signal.SIGTERM]


async def test_a_server_that_hears_signals_in_its_loop_goes_on_hearing_them() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        with Shutdown().on_signal():
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(told.wait(), LIMIT_S)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_balancer_that_asks_whether_it_is_ready_hears_that_it_goes(ends: list[int]) -> None:
    async with serving(FakeService()) as client:
        signal.raise_signal(signal.SIGTERM)

        async def told() -> bool:
            return bool(ends)

        await until_async(told)
        ready, health = await client.get("/ready"), await client.get("/health")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert ready.json()["error_type"] == "stopping"


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (path, body | {"stream": True}) for name, (path, body) in CALLS.items()
}


@pytest.mark.parametrize("deployment", [{"api": {"head_start_s": 0.01}}], indirect=True, ids=["at once"])
@pytest.mark.parametrize(("path", "body"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("has_begun", [False, True], ids=["waiting", "begun"])
async def test_an_open_stream_ends_with_the_error_stopping(
    deployment: Deployment, path: str, body: dict[str, Any], *, has_begun: bool
) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, body, path)
    await call.until(lambda e: b"waiting" in e.body)
    if has_begun:
        deployment.worker.say(deployment.worker.take(), "A square")
        await call.until(lambda e: b"square" in e.body)
    await call.stop()
    last = data(call.body)[-1]
    assert (last["error"]["code"], last["error_type"], call.complete) == ("stopping", "generation", True)


@pytest.mark.parametrize("deployment", [{"api": {"head_start_s": 0.01}}], indirect=True, ids=["at once"])
async def test_a_reader_of_events_learns_that_the_api_stops(deployment: Deployment) -> None:
    deployment.worker.beat()
    job = {"model": CHAT["model"], "input": {"prompt": "What?"}}
    accepted = posted(deployment.app, job, "/v1/jobs")
    await accepted.finish()
    call = Exchange(deployment.app, "GET", f"{accepted.headers['location']}/events").start()
    await call.until(lambda e: b"queued" in e.body)
    await call.stop()
    assert data(call.body)[-1]["error"]["code"] == "stopping"


@pytest.mark.parametrize("deployment", [{"api": {"keepalive_s": 0.01}}], indirect=True, ids=["impatient"])
@pytest.mark.parametrize(("path", "body"), CALLS.values(), ids=CALLS)
async def test_a_call_that_was_kept_alive_ends_with_the_error_stopping(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    call = await kept_alive(deployment, path, body)
    await call.stop()
    assert call.complete
    assert json.loads(call.body)["error"]
    assert b'"stopping"' in call.body
