"""Connections on which nothing is asked, one by one and in a crowd; and how much of it one caller may be."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import pytest

from api.server import connection_limit, protocol
from api.server.connection_limit import ConnectionLimit
from shared.errors import Unavailable
from tests.routes.conftest import Stage
from tests.routes.test_protocol import GET, LIMIT_S, answer, application, code_of, served
from tests.support.app_server import listening
from tests.support.clients import until_async
from tests.support.keys import ADMIN, KEYED, bearer, calling, made
from tests.support.metrics import counted

ASKED = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}


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
        writer.write(ASKED)
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


async def test_a_connection_that_was_used_in_a_crowd_is_kept_as_any_other_once_the_crowd_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowded = True
    monkeypatch.setattr(ConnectionLimit, "is_large", lambda *_, **__: crowded)
    monkeypatch.setattr(protocol, "CROWDED_KEEP_S", 3600)
    async with served(timeout_keep_alive=0) as connect:
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"ok")
        crowded = False
        writer.write(GET + b"\r\n")
        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/health/"])
async def test_a_crowd_makes_no_process_look_dead(path: str) -> None:
    async with served(limit_concurrency=1) as connect:
        await connect()
        reader, writer = await connect()
        writer.write(ASKED.replace(b"/models", path.encode()))
        status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (200, "close")


async def test_a_crowd_that_asks_for_a_process_s_health_is_limited_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_limit, "PROBES_AT_ONCE", 1)
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if not begun.is_set():
            begun.set()
            await end.wait()
        await application(scope, receive, send)

    async with served(slow, limit_concurrency=1) as connect:
        await connect()

        async def status() -> int:
            reader, writer = await connect()
            writer.write(GET + b"\r\n")
            return (await answer(reader))[0]

        probe = asyncio.create_task(status())
        await begun.wait()
        beyond = await status()
        end.set()
        assert (beyond, await probe) == (503, 200)

        async def answered() -> bool:
            return await status() == 200

        await until_async(answered)


@pytest.mark.parametrize(
    "hold",
    [GET + b"Content-Length: 9\r\n\r\n1", GET + b"\r\n" + GET],
    ids=["half a body", "half a second request"],
)
async def test_no_probe_keeps_the_place_of_another(monkeypatch: pytest.MonkeyPatch, hold: bytes) -> None:
    monkeypatch.setattr(connection_limit, "PROBES_AT_ONCE", 1)
    monkeypatch.setattr(protocol, "LINGER_S", 3600)
    monkeypatch.setattr(protocol, "HEAD_LIMIT_S", 3600)
    async with served(limit_concurrency=1) as connect:
        await connect()
        holding, writer = await connect()
        writer.write(hold)
        await asyncio.wait_for(holding.readuntil(b"\r\n\r\n"), LIMIT_S)

        async def answered() -> bool:
            reader, writer = await connect()
            writer.write(GET + b"\r\n")
            return (await answer(reader))[0] == 200

        await until_async(answered)


@pytest.mark.parametrize("stage", [KEYED], indirect=True)
async def test_one_caller_s_open_streams_leave_connections_to_the_others(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.hand.beat()
    one, two = [bearer((await made(stage.app, caller))["secret"]) for caller in ("one", "two")]
    protocols = {"http": "api.server.protocol:LimitedProtocol", "limit_concurrency": 4}
    async with (
        listening(stage.app, **protocols) as url,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
    ):
        job = (await http.post("/v1/jobs", json=JOB, headers=one)).json()
        async with AsyncExitStack() as streams:
            for _ in range(2):
                stream = http.stream("GET", job["urls"]["events"], headers=one)
                assert (await streams.enter_async_context(stream)).status_code == 200
            refused = await http.get("/v1/models", headers=one)
            other = await http.get("/v1/models", headers=two)

        async def left() -> bool:
            return (await http.get("/v1/models", headers=one)).status_code == 200

        await until_async(left)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "caller_queue_full")
    assert refused.headers["retry-after"] == "5"
    assert "2 requests open" in refused.json()["error"]["message"]
    assert other.status_code == 200
    assert "most requests by caller: one 2" in caplog.text


@pytest.mark.parametrize("stage", [KEYED], indirect=True)
async def test_a_process_full_of_callers_still_tells_its_metrics(stage: Stage) -> None:
    stage.hand.beat()
    secrets = [(await made(stage.app, caller))["secret"] for caller in ("one", "two")]
    streams = {}
    for secret in secrets:
        async with calling(stage.app, secret) as client:
            streams[secret] = (await client.post("/v1/jobs", json=JOB)).json()["urls"]["events"]
    protocols = {"http": "api.server.protocol:LimitedProtocol", "limit_concurrency": len(streams)}
    async with (
        listening(stage.app, **protocols) as url,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
        AsyncExitStack() as held,
    ):
        for secret, path in streams.items():
            stream = http.stream("GET", path, headers=bearer(secret))
            assert (await held.enter_async_context(stream)).status_code == 200
        assert (await http.get("/metrics", headers=bearer(ADMIN))).status_code == 200


def test_callers_who_leave_all_they_may_open_leave_a_connection_to_the_next() -> None:
    shares = ConnectionLimit(connections=(), most=16)
    with ExitStack() as places:
        for caller, share in ("one", 8), ("two", 4), ("three", 2):
            for _ in range(share):
                places.enter_context(shares.place(caller))
            with pytest.raises(Unavailable, match=f"{share} requests open"):
                shares.place(caller)
        places.enter_context(shares.place("four"))


def test_a_caller_whose_requests_are_over_is_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    """A process that serves for months meets many callers."""
    shares = ConnectionLimit(connections=(), most=2)
    with shares.place("one"):
        pass
    with shares.place("two"), pytest.raises(Unavailable):
        shares.place("two")
    assert caplog.messages[0].endswith("most requests by caller: two 1")
