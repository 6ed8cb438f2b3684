"""Several requests on one connection, each sent before those ahead of it are answered."""

import asyncio
from typing import Any

import pytest

from api.server import protocol
from tests.routes.test_protocol import GET, LIMIT_S, Connect, answer, application, code_of, served


async def used(connect: Connect) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that is past the limit on its first head."""
    reader, writer = await connect()
    writer.write(GET + b"\r\n")
    await asyncio.wait_for(reader.readuntil(b"ok"), LIMIT_S)
    return reader, writer


@pytest.mark.parametrize("cut", [1, len(GET)])
@pytest.mark.parametrize("before", [1, 2])
async def test_who_sends_on_before_an_answer_loses_no_answer(
    monkeypatch: pytest.MonkeyPatch, cut: int, before: int
) -> None:
    """From the second unanswered request on nothing is read, so that no more of a third can come."""
    may_answer = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await may_answer.wait()
        await application(scope, receive, send)

    async with served(late, timeout_keep_alive=3600) as connect:
        may_answer.set()
        reader, writer = await used(connect)
        may_answer.clear()
        monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 0.05)
        whole = GET + b"\r\n"
        writer.write(whole * before + whole[:cut])
        late_head, late_writer = await connect()
        late_writer.write(GET)
        assert code_of(*await answer(late_head)) == (408, "upload_timeout")
        may_answer.set()
        writer.write(whole[cut:])
        for _ in range(before + 1):
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), LIMIT_S)).startswith(b"HTTP/1.1 200")


async def test_a_head_left_unfinished_behind_another_request_is_408_once_that_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(timeout_keep_alive=3600) as connect:
        reader, writer = await used(connect)
        monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 0.05)
        writer.write(GET + b"\r\n" + GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert code_of(*await answer(reader)) == (408, "upload_timeout")


SHORT = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("behind", [b"}", b"\0", b"GET / HTTP/9.9\r\n\r\n"])
@pytest.mark.parametrize("before", [1, 2])
async def test_who_counts_a_body_too_short_has_its_answer_before_the_connection_closes(
    before: int, behind: bytes
) -> None:
    async with served(timeout_keep_alive=3600) as connect:
        reader, writer = await connect()
        writer.write(SHORT * before + behind)
        told = await asyncio.wait_for(reader.read(), LIMIT_S)
    assert told.count(b"HTTP/1.1 200") == told.count(b"x-read: 5\r\n") == told.count(b"\r\n\r\nok") == before
    assert told.count(b"connection: close") == 1
