"""Wake-ups: whoever waits hears of a change, through lost connections and others' comings and goings."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.settings import RedisSettings
from shared.store import wakeups as module
from shared.store.keys import channel
from shared.store.wakeups import Listener, Wakeups
from tests.support.clients import until_async
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

LIMIT_S = 60
LONG_S = 3600.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the machine stands still, no subscription is left unconfirmed and no connection given up."""
    monkeypatch.setattr(module, "RECONNECT_S", 0.01)
    monkeypatch.setattr(module, "CONFIRM_S", LONG_S)
    monkeypatch.setattr(module, "PING_S", LONG_S)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Wakeups]:
    wakeups = Wakeups(RedisSettings.model_validate({"url": url}))
    await wakeups.open()
    try:
        yield wakeups
    finally:
        await wakeups.aclose()


@pytest.fixture
async def wakeups(redis_settings: RedisSettings, patient: None) -> AsyncIterator[Wakeups]:  # noqa: ARG001
    async with opened(redis_settings.url.get_secret_value()) as wakeups:
        yield wakeups


@pytest.fixture
async def client(redis_settings: RedisSettings) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_settings.url.get_secret_value(), decode_responses=True) as opened:
        yield opened


async def heard(*listeners: Listener) -> None:
    """Every listener hears something; they would wait much longer than the test."""
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(listener.wait(LONG_S) for listener in listeners))


async def until_subscribed(client: Any, names: set[str]) -> None:
    """The server's own list of channels is exactly these."""

    async def subscribed() -> bool:
        return set(await client.pubsub_channels()) == {channel(n) for n in names | {"nobody"}}

    await until_async(subscribed)


async def test_a_change_between_the_read_and_the_wait_is_heard(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1") as listener:
        assert await client.publish(channel("run_1"), "state") == 1
        await heard(listener)


async def test_everybody_on_a_channel_is_woken_over_one_connection(wakeups: Wakeups, client: Any) -> None:
    async with (
        wakeups.listen("run_1") as one,
        wakeups.listen("run_1") as two,
        wakeups.listen("run_2") as other,
    ):
        assert await client.publish(channel("run_1"), "state") == 1
        await heard(one, two)
        await client.publish(channel("run_2"), "state")
        await heard(other)
        assert len(await client.client_list(_type="pubsub")) == 1


async def test_nobody_is_woken_by_another_job_s_change(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1") as one, wakeups.listen("run_2") as two:
        waiting = asyncio.create_task(one.wait(LONG_S))
        await client.publish(channel("run_2"), "state")
        await heard(two)
        assert not waiting.done()
        waiting.cancel()


async def test_who_waits_for_the_end_sleeps_through_events(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1") as reader, wakeups.listen("run_1") as sleeper:
        sleeper.ignore_events()
        waiting = asyncio.create_task(sleeper.wait(LONG_S))
        for news in ("event", "3-1700000000000 {}"):
            await client.publish(channel("run_1"), news)
            await heard(reader)
        assert not waiting.done()
        await client.publish(channel("run_1"), "state")
        async with asyncio.timeout(LIMIT_S):
            await waiting


async def test_a_channel_without_listeners_is_given_up(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1"):
        await until_subscribed(client, {"run_1"})
    await until_subscribed(client, set())


async def test_who_comes_just_as_the_last_one_leaves_is_not_deaf(wakeups: Wakeups, client: Any) -> None:
    async def visit() -> None:
        async with wakeups.listen("run_1"):
            await asyncio.sleep(0)

    for _ in range(20):
        leaving = [asyncio.create_task(visit()) for _ in range(3)]
        async with wakeups.listen("run_1") as listener:
            await asyncio.gather(*leaving)
            assert await client.publish(channel("run_1"), "state") == 1
            await heard(listener)
    await client.client_kill_filter(_type="pubsub")
    async with wakeups.listen("run_1") as listener:
        await client.publish(channel("run_1"), "state")
        await heard(listener)


async def test_who_hangs_up_while_subscribing_does_not_deafen_the_next(wakeups: Wakeups, client: Any) -> None:
    async def visit() -> None:
        async with wakeups.listen("run_1"):
            await asyncio.sleep(LONG_S)

    for ticks in range(12):
        leaving = asyncio.create_task(visit())
        for _ in range(ticks):
            await asyncio.sleep(0)
        coming = asyncio.create_task(visit())
        await asyncio.sleep(0)
        leaving.cancel()
        async with wakeups.listen("run_1") as listener:
            assert await client.publish(channel("run_1"), "state") == 1
            await heard(listener)
        coming.cancel()
        await asyncio.gather(leaving, coming, return_exceptions=True)


async def test_a_killed_connection_wakes_all_and_later_changes_are_heard(
    wakeups: Wakeups, client: Any
) -> None:
    async with wakeups.listen("run_1") as one, wakeups.listen("run_2") as two:
        for _ in range(3):
            assert await client.client_kill_filter(_type="pubsub") == 1
            await heard(one, two)
            assert await client.publish(channel("run_1"), "state") == 1
            assert await client.publish(channel("run_2"), "state") == 1
            await heard(one, two)


async def test_channels_given_up_during_an_outage_stay_given_up(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1") as stays:
        async with wakeups.listen("run_2"):
            await client.client_kill_filter(_type="pubsub")
        await heard(stays)
        await until_subscribed(client, {"run_1"})


@pytest.mark.usefixtures("patient")
async def test_a_process_started_before_its_store_hears_once_that_is_there_and_logs_a_line_for_each_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CONFIRM_S", 0.01)
    port = free_port()
    async with opened(f"redis://127.0.0.1:{port}/0") as waiting, waiting.listen("run_1") as listener:
        server = await asyncio.to_thread(RedisServer, tmp_path, port)
        try:
            await heard(listener)
            async with Redis.from_url(server.url()) as client:
                assert await client.publish(channel("run_1"), "state") == 1
            await heard(listener)
            server.kill()
            await asyncio.to_thread(server.start)
            await heard(listener)
            assert caplog.messages == ["wake-ups wait: the record store is out of reach"] * 2
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (":wrong@", "refuses our password, or wants one"),
        ("", "refuses our password, or wants one"),
        ("reader:known@", "does not let our user do what we ask"),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_an_operator_reads_that_the_store_refuses_a_process_and_is_not_away(
    server: RedisServer, client: Any, caplog: pytest.LogCaptureFixture, user: str, said: str
) -> None:
    async def told() -> bool:
        return caplog.messages == [f"wake-ups wait: the record store {said}"]

    await client.acl_setuser("reader", enabled=True, passwords=["+known"], commands=["+ping"])
    await client.config_set("requirepass", "right")
    try:
        async with opened(f"redis://{user}127.0.0.1:{server.port}/0"):
            await until_async(told)
    finally:
        await client.config_set("requirepass", "")
        await client.acl_deluser("reader")


async def test_a_connection_that_went_silent_is_given_up(
    server: RedisServer, wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PING_S", 0.2)

    async def noticed() -> bool:
        return "wake-ups wait" in caplog.text

    async with wakeups.listen("run_1") as listener:
        server.process.send_signal(signal.SIGSTOP)
        try:
            await until_async(noticed)
        finally:
            server.process.send_signal(signal.SIGCONT)
        await heard(listener)


async def test_who_stops_listening_while_the_server_hangs_is_not_held_up(
    server: RedisServer, wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer would never be given, though its job has succeeded."""
    monkeypatch.setattr(module, "PING_S", 0.2)
    monkeypatch.setattr(module, "CONFIRM_S", 0.2)

    async def noticed() -> bool:
        return "wake-ups wait" in caplog.text

    async def trying() -> bool:
        return wakeups._sending.locked()

    try:
        async with wakeups.listen("run_1"):
            server.process.send_signal(signal.SIGSTOP)
            await until_async(noticed)
            # The next try has begun: its connection is taken, and nothing answers.
            await until_async(trying)
    finally:
        server.process.send_signal(signal.SIGCONT)


async def test_a_listener_that_leaves_does_not_deafen_the_other(wakeups: Wakeups, client: Any) -> None:
    async with wakeups.listen("run_1") as stays:
        async with wakeups.listen("run_1"):
            pass
        await client.publish(channel("run_1"), "state")
        await heard(stays)
