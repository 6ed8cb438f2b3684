"""A balancer that sends requests to a process that was told to end loses none of them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from api.server import ending, protocol
from api.server.ending import KEY, Ending
from api.server.protocol import LimitedProtocol
from tests.routes.test_protocol import GET, LIMIT_S, answer, served
from tests.support.app import serving
from tests.support.clients import until_async
from tests.support.fake_service import Desk


class Running(NamedTuple):
    end: Ending
    uvicorn: uvicorn.Server
    task: asyncio.Task[None]
    """Done when it has ended."""


@pytest.fixture
async def server(ends: list[int], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:  # noqa: ARG001
    """Its farewell is longer than any test."""
    monkeypatch.setattr(ending, "FAREWELL_S", 3600)
    end = Ending()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Ending]]:
        with end.told_by_signal():
            yield {KEY: end}

    app = Starlette(routes=[Route("/health", lambda _: Response("ok"))], lifespan=lifespan)
    found = uvicorn.Server(
        uvicorn.Config(app, port=0, http="api.server.protocol:LimitedProtocol", log_config=None)
    )
    task = asyncio.create_task(found.serve())

    async def started() -> bool:
        return found.started

    await until_async(started)
    yield Running(end, found, task)
    found.should_exit = True
    await asyncio.wait_for(task, LIMIT_S)


async def test_what_is_sent_meanwhile_is_answered_and_told_to_go_elsewhere(
    server: Running,
) -> None:
    port = server.uvicorn.servers[0].sockets[0].getsockname()[1]
    kept, kept_writer = await asyncio.open_connection("127.0.0.1", port)
    kept_writer.write(GET + b"\r\n")
    assert b"connection: close" not in await asyncio.wait_for(kept.readuntil(b"ok"), LIMIT_S)
    signal.raise_signal(signal.SIGTERM)

    async def begun() -> bool:
        return server.end.begun

    await until_async(begun)
    new, new_writer = await asyncio.open_connection("127.0.0.1", port)
    for reader, writer in ((kept, kept_writer), (new, new_writer)):
        writer.write(GET + b"\r\n")
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        writer.close()
    assert not server.uvicorn.should_exit
    # Who tells it twice means it.
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(server.task, LIMIT_S)


async def test_nobody_waits_for_the_end_of_a_process_that_nobody_asks(
    server: Running, ends: list[int]
) -> None:
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(server.task, LIMIT_S)
    assert ends == [signal.SIGTERM]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[LimitedProtocol]:
    """The connection, once it is made and each time that something came."""
    found = asyncio.Queue[LimitedProtocol]()

    def hearing(name: str) -> None:
        own = getattr(LimitedProtocol, name)

        def hear(self: LimitedProtocol, given: Any) -> None:
            own(self, given)
            found.put_nowait(self)

        monkeypatch.setattr(LimitedProtocol, name, hear)

    hearing("connection_made")
    hearing("data_received")
    return found


@pytest.mark.parametrize("cut", [0, 1, len(GET)])
async def test_who_is_sending_a_request_when_the_port_closes_is_answered(
    heard: asyncio.Queue[LimitedProtocol], monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(protocol, "PARTING_S", 0 if cut else 3600)
    async with served() as connect, asyncio.timeout(LIMIT_S):
        reader, writer = await connect()
        connection = await heard.get()
        if cut:
            writer.write((GET + b"\r\n")[:cut])
            await heard.get()
        connection.shutdown()
        writer.write((GET + b"\r\n")[cut:])
        status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (200, "close")


async def test_who_sends_nothing_does_not_hold_up_the_end(heard: asyncio.Queue[LimitedProtocol]) -> None:
    async with served(timeout_keep_alive=3600) as connect, asyncio.timeout(LIMIT_S):
        reader, _ = await connect()
        (await heard.get()).shutdown()
        assert await reader.read() == b""


async def test_who_never_ends_a_head_does_not_hold_up_the_end(
    heard: asyncio.Queue[LimitedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PARTING_HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 3600)
    async with served() as connect, asyncio.timeout(LIMIT_S):
        reader, writer = await connect()
        connection = await heard.get()
        writer.write(GET)
        await heard.get()
        connection.shutdown()
        status, *_ = await answer(reader)
    assert status == 408


async def test_a_server_that_hears_signals_in_its_loop_goes_on_hearing_them() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        with Ending().told_by_signal():
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(told.wait(), LIMIT_S)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_balancer_that_asks_whether_it_is_ready_hears_that_it_goes(ends: list[int]) -> None:
    async with serving(Desk()) as client:
        signal.raise_signal(signal.SIGTERM)

        async def told() -> bool:
            return bool(ends)

        await until_async(told)
        ready, health = await client.get("/ready"), await client.get("/health")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert "ending" in ready.json()["error"]
