"""Whose address a request has where a proxy on this machine says so; it may pass on what its caller wrote."""

import asyncio
from typing import Any

import pytest

from api.server.middleware import RequestMiddleware
from tests.support.app_server import answer, listening

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: %s\r\n\r\n"
OWN = b"127.0.0.1"


async def told(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    """Answers with the address that all behind the edge see."""
    body = scope["client"][0].encode() if scope["client"] else b""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (b"192.0.2.7", b"192.0.2.7"),
        (b"made-up, 192.0.2.7:1234", b"192.0.2.7"),
        (b"[2001:DB8::1]:1234", b"2001:db8::1"),
        (b"", OWN),
        (b"unknown", b""),
        (b"192.0.2.7.8", b""),
        (b"a" * 30_000, b""),
        (b"fe80::1%" + b"a" * 30_000, b""),
    ],
    ids=lambda value: value[:20].decode(),
)
async def test_what_is_no_address_wins_no_more_guesses_and_fills_no_log(said: bytes, address: bytes) -> None:
    async with listening(RequestMiddleware(told)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(HEAD % said)
        assert (await answer(reader))[2] == address
        writer.close()
