"""What uvicorn's own protocol lacks, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from api.server.protocol import HttpProtocol

from api.server.middleware import HEAD_LIMIT
from shared.settings import Settings
from sightline.serving.folder import DataFolder
from sightline.serving.plan import Plan

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT_S = 60

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers once the body is in, and says how long it was."""
    if scope["type"] != "http":
        return
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    headers = [(b"content-length", b"2"), (b"x-read", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served(app: Any = application, **options: Any) -> AsyncIterator[Connect]:
    protocol = "api.server.protocol:HttpProtocol"
    config = uvicorn.Config(app, port=0, lifespan="off", http=protocol, log_config=None, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        await server.shutdown()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The one answer before the server closes."""
    raw = await asyncio.wait_for(reader.read(), LIMIT_S)
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def asked(sent: bytes, **options: Any) -> tuple[int, dict[str, str], bytes]:
    async with served(**options) as connect:
        reader, writer = await connect()
        writer.write(sent)
        return await answer(reader)


ENDLESS = {
    "one header": GET + b"X-A: " + b"a" * (HEAD_LIMIT + 1),
    "many headers": GET + b"X-A: a\r\n" * (HEAD_LIMIT // 4),
    "the URL": b"GET /" + b"a" * (HEAD_LIMIT + 100),
}


@pytest.mark.parametrize("sent", ENDLESS.values(), ids=ENDLESS.keys())
async def test_a_head_that_does_not_end_takes_no_memory(sent: bytes) -> None:
    # The connection is closed while more comes, which may cost its sender the answer.
    with suppress(ConnectionResetError):
        status, headers, _ = await asked(sent)
        assert (status, headers["connection"]) == (431, "close")


async def test_a_trailer_that_does_not_end_is_cut_off() -> None:
    async with served() as connect:
        _, writer = await connect()
        writer.write(POST + b"1\r\na\r\n0\r\nX-A: ")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_sent_for_ever(writer), LIMIT_S)


async def _sent_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a" * HEAD_LIMIT)
        await writer.drain()


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"HELO\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", POST + b"ZZ\r\n"],
)
async def test_what_is_no_http_is_answered_and_the_connection_closed(sent: bytes) -> None:
    status, headers, _ = await asked(sent)
    assert (status, headers["connection"]) == (400, "close")


async def test_a_trailer_is_no_header() -> None:
    """A proxy that checks who calls looks at headers alone."""
    seen: list[dict[bytes, bytes]] = []

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)
        seen.append(dict(scope["headers"]))

    await asked(
        POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"0\r\nX-A: a\r\n\r\n", app=noted
    )
    assert b"x-a" not in seen[0]


async def test_large_bodies_and_many_requests_on_one_connection_are_no_heads() -> None:
    async with served() as connect:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(POST + b"%x\r\n" % (4 * HEAD_LIMIT) + b"a" * 4 * HEAD_LIMIT + b"\r\n0\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        requests = 2 * HEAD_LIMIT // len(GET)
        writer.write((GET + b"\r\n") * requests)
        for _ in range(requests):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


def test_the_service_is_started_with_these_limits(tmp_path: Path) -> None:
    plan = Plan(Settings(), "redis://127.0.0.1:7000/0", DataFolder(tmp_path), 8000)
    argv = plan.api().argv
    assert argv[argv.index("--http") + 1] == f"{HttpProtocol.__module__}:{HttpProtocol.__name__}"
    # Balancers keep a connection for 60 s: the one who closes first must be they.
    assert int(argv[argv.index("--timeout-keep-alive") + 1]) > 60


OFFERED = b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: %s\r\n"
BOTH = b"Upgrade, HTTP2-Settings"
WHOLE, PIECES = b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = {WHOLE: b"hello", PIECES: b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"}


@pytest.mark.parametrize("framing", BODIES)
async def test_the_body_of_a_client_that_would_rather_speak_http_2_is_read(framing: bytes) -> None:
    async with served(ws="none") as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(OFFERED % BOTH + framing + BODIES[framing])
            assert b"x-read: 5\r\n" in await asyncio.wait_for(reader.readuntil(b"ok"), LIMIT_S)
        for _ in range(2):
            writer.write(OFFERED % BOTH + b"Expect: 100-continue\r\n" + framing)
            await asyncio.wait_for(reader.readuntil(b"100 Continue\r\n\r\n"), LIMIT_S)
            writer.write(BODIES[framing])
            assert b"x-read: 5\r\n" in await asyncio.wait_for(reader.readuntil(b"ok"), LIMIT_S)


async def test_many_offers_at_once_are_read_one_after_the_other() -> None:
    async with served(ws="none") as connect:
        reader, writer = await connect()
        writer.write((OFFERED % BOTH + WHOLE + b"hello") * 1000)
        for _ in range(1000):
            assert b"x-read: 5\r\n" in await asyncio.wait_for(reader.readuntil(b"ok"), LIMIT_S)


async def test_a_connection_that_is_to_close_closes_though_another_protocol_is_offered() -> None:
    status, headers, body = await asked(OFFERED % (BOTH + b", close") + WHOLE + b"hello", ws="none")
    assert (status, headers["connection"], body) == (200, "close", b"ok")


async def test_a_client_that_leaves_is_noticed_though_it_has_asked_twice_at_once() -> None:
    """Else its answer would be computed to its end for nobody."""
    begun, left = asyncio.Event(), asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with served(waits) as connect:
        _, writer = await connect()
        writer.write(GET + b"\r\n" + GET + b"\r\n")
        await asyncio.wait_for(begun.wait(), LIMIT_S)
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), LIMIT_S)
