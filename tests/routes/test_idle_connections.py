"""Who holds a connection without asking for anything, or leaves it with questions open."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.server.middleware import RequestMiddleware
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
    target = {"path": "/", "query_string": b""}
    scope = {"type": "http", "scheme": "http", "method": "GET", "headers": headers} | target
    await RequestMiddleware(watching)(scope, receive, send)

    assert sent[1:] == [{"type": "http.response.body", "body": b"end"}]
