"""Connections on which nothing is asked, one by one and in a crowd."""

import asyncio

import pytest

from api.wire import protocol
from tests.routes.test_protocol import GET, LIMIT_S, answer, code_of, served
from tests.support.metrics import counted


@pytest.mark.parametrize("crowded", [False, True])
async def test_a_connection_that_says_nothing_is_closed_in_a_crowd_soon(
    monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 0.1 if crowded else 3600)
    most, keep_s = (1, 3600) if crowded else (1000, 0.1)
    async with served(limit_concurrency=most, timeout_keep_alive=keep_s) as connect:
        reader, _ = await connect()
        assert await asyncio.wait_for(reader.read(), LIMIT_S) == b""


async def test_connections_that_say_nothing_make_room_when_a_crowd_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 0.1)
    async with served(limit_concurrency=3, timeout_keep_alive=3600) as connect:
        silent, _ = await connect()
        await connect()
        assert await asyncio.wait_for(silent.read(), LIMIT_S) == b""


async def test_a_balancer_that_connects_ahead_has_as_long_as_between_two_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 0.1)
    async with served(timeout_keep_alive=3600) as connect:
        ahead, writer = await connect()
        late, late_writer = await connect()
        late_writer.write(GET)
        assert code_of(*await answer(late)) == (408, "upload_timeout")
        writer.write(GET + b"\r\n")
        assert (await ahead.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


async def test_one_connection_too_many_is_told_to_come_back_and_operators_see_it() -> None:
    before = counted("sightline_refusals_total", code="queue_full")
    async with served(limit_concurrency=1) as connect:
        first, _ = await connect()
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        status, headers, body = await answer(reader)
        assert code_of(status, headers, body) == (503, "queue_full")
        assert headers["retry-after"] == "1"
        assert not first.at_eof()
    assert counted("sightline_refusals_total", code="queue_full") == before + 1


async def test_unused_connections_make_room_in_a_crowd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "CROWDED_KEEP_S", 0)
    async with served(limit_concurrency=3, timeout_keep_alive=3600) as connect:
        alone, writer = await connect()
        writer.write(GET + b"\r\n")
        assert (await alone.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        crowded, writer = await connect()
        writer.write(GET + b"\r\n")
        assert (await answer(crowded))[0] == 200
        assert not alone.at_eof()
