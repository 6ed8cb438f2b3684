"""HTTP/1.0, as nginx speaks it to what is behind it unless it is told otherwise."""

import asyncio
from typing import Any

import pytest

from tests.routes.test_protocol import LIMIT_S, served

OLD = b"%s / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"


@pytest.fixture
def piece() -> asyncio.Event:
    """Set once the next piece may be sent."""
    return asyncio.Event()


async def answered(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    return head, await asyncio.wait_for(reader.read(), LIMIT_S)


async def test_a_stream_comes_piece_by_piece_and_ends_with_its_connection(piece: asyncio.Event) -> None:
    async def streaming(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"A ", "more_body": True})
        await piece.wait()
        await send({"type": "http.response.body", "body": b"cat.", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with served(streaming) as connect:
        reader, writer = await connect()
        writer.write(OLD % b"GET")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
        assert await asyncio.wait_for(reader.readexactly(2), LIMIT_S) == b"A "
        piece.set()
        assert await asyncio.wait_for(reader.read(), LIMIT_S) == b"cat."
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head


@pytest.mark.parametrize(("method", "body"), [(b"GET", b"ok"), (b"HEAD", b"")])
async def test_an_answer_whose_length_is_known_says_it(method: bytes, body: bytes) -> None:
    async def whole(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async with served(whole) as connect:
        reader, writer = await connect()
        writer.write(OLD % method)
        head, said = await answered(reader)
    assert (b"content-length: 2\r\n" in head, said) == (True, body)
