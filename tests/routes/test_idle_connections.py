"""Who holds a connection without asking for anything, or leaves it with questions open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from api.server.middleware import Edge
from api.server.protocol import LimitedProtocol
from tests.routes.test_protocol import GET, LIMIT_S, POST, served
from tests.support.app import application, client_of
from tests.support.asgi_exchange import Exchange
from tests.support.fake_service import Desk

UNREAD = [
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("POST", "/health"),
    ("GET", "/v1/jobs"),
    ("GET", "/nowhere"),
]
HEADERS = [{"content-length": "9"}, {"transfer-encoding": "chunked"}]


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    async with application(Desk()) as found:
        yield found


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize(("method", "path"), UNREAD)
async def test_nobody_takes_a_connection_for_good_with_a_body_that_is_not_read(
    app: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    exchange = Exchange(app, method, path, headers=headers).start()
    await exchange.until(lambda e: bool(e.status))
    exchange.hang_up()
    await exchange.finish()

    assert (exchange.headers["connection"], exchange.complete) == ("close", True)


async def test_the_sender_of_a_body_that_is_not_read_still_reads_the_answer(app: Any) -> None:
    exchange = Exchange(app, "HEAD", "/health", headers=HEADERS[0], chunks=(b"a" * 5, b"a" * 4)).start()
    await exchange.finish()

    assert (exchange.status, exchange.pending) == (200, [])


@pytest.mark.parametrize("length", ["0", "0 ", "00"])
async def test_an_empty_body_costs_nobody_the_connection(app: Any, length: str) -> None:
    async with client_of(app) as client:
        reply = await client.get("/health", headers={"content-length": length})

    assert "connection" not in reply.headers


async def test_a_small_body_that_is_there_already_costs_nobody_the_connection(app: Any) -> None:
    """Some clients send `{}` with whatever they ask."""
    async with client_of(app) as client:
        reply = await client.request("GET", "/health", content=b"{}")

    assert "connection" not in reply.headers


async def test_a_stream_does_not_wait_at_its_end_for_a_body_that_was_read() -> None:
    """Who watches for its caller's leaving has read it."""
    sent: list[dict[str, Any]] = []
    heard = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def watching(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b"end"})

    async def receive() -> dict[str, Any]:
        return heard.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    # It asks first, so its body is not looked at before the answer begins.
    headers = [(b"content-length", b"2"), (b"expect", b"100-continue")]
    scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/", "headers": headers}
    await Edge(watching)(scope, receive, send)

    assert sent[1:] == [{"type": "http.response.body", "body": b"end"}]


async def quick(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    """Answers before the body is in."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize(("asked", "then"), [(GET + b"\r\n", b"\r\n"), (POST, b"1\r\n")])
async def test_neither_blank_lines_nor_a_late_body_keep_an_unused_connection(
    asked: bytes, then: bytes
) -> None:
    async with served(quick, timeout_keep_alive=0.5) as connect:
        reader, writer = await connect()
        writer.write(asked)
        await reader.readuntil(b"ok")
        writer.write(then)
        # What comes after the end is answered by a reset, and is none the less closed.
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), LIMIT_S) == b""


async def test_the_pause_between_requests_does_not_cut_off_one_whose_head_came_in_two_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, connection_made = list[LimitedProtocol](), LimitedProtocol.connection_made
    begun, may_answer = asyncio.Semaphore(0), asyncio.Semaphore(0)

    def seen(self: LimitedProtocol, transport: Any) -> None:
        made.append(self)
        connection_made(self, transport)

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        begun.release()
        await may_answer.acquire()
        await quick(scope, receive, send)

    monkeypatch.setattr(LimitedProtocol, "connection_made", seen)
    async with served(patient) as connect, asyncio.timeout(LIMIT_S):
        reader, writer = await connect()
        writer.write(GET + b"\r\n" + GET)
        await begun.acquire()
        may_answer.release()
        await reader.readuntil(b"ok")
        assert made[0].timeout_keep_alive_task is None
        writer.write(b"\r\n")
        await begun.acquire()
        may_answer.release()
        await reader.readuntil(b"ok")


async def test_who_leaves_with_several_requests_open_is_missed_by_the_one_being_answered() -> None:
    begun, missed = asyncio.Event(), asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        # A closed connection takes no more, and is no error of ours.
        await quick(scope, receive, send)
        missed.set()

    async with served(endless) as connect, asyncio.timeout(LIMIT_S):
        _, writer = await connect()
        writer.write((GET + b"\r\n") * 3)
        await begun.wait()
        writer.close()
        await missed.wait()
