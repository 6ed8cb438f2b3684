"""Before its memory is full the record store takes no new work, so that accepted work can end."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store import headroom as module
from shared.store.admission import ROOM
from shared.store.headroom import Headroom
from shared.store.keys import PREFIX
from shared.store.script import AsyncStore, connect_async

BALLAST = 16 * 2**20


@pytest.fixture
async def store(redis_settings: RedisSettings) -> AsyncIterator[AsyncStore]:
    opened = connect_async(redis_settings)
    yield opened
    await opened.client.config_set("maxmemory", 0)
    await opened.client.config_set("maxmemory-policy", "noeviction")
    await opened.aclose()


async def test_a_nearly_full_store_refuses_new_work(store: AsyncStore) -> None:
    # What connections come and go with is then too little to matter. Sent whole it would be in the buffer of
    # this connection, too, until the server takes that back.
    await store.client.setrange("ballast", BALLAST, "x")
    used = int((await store.client.info("memory"))["used_memory"])
    await store.client.config_set("maxmemory", int(used * 1.01))
    with pytest.raises(Unavailable) as refused:
        await Headroom(store, 0.9).check()
    assert (refused.value.code, refused.value.retry_after) == ("store_unavailable", 30)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_who_holds_most_is_read_in_steps_and_not_at_each_question(
    store: AsyncStore, clock: SimpleNamespace
) -> None:
    held = {f"caller_{number}": number for number in range(1, 10_001)} | {"": 7}
    await store.client.hset(f"{PREFIX}mem", mapping=held)
    headroom = Headroom(store, 0.9)
    await store.client.config_resetstat()
    charges = (await asyncio.gather(*(headroom.charges() for _ in range(5))))[0]
    assert charges.total == 10_000 * 10_001 // 2
    assert charges.most[0] == ("caller_10000", 10_000)
    assert len(charges.most) == module.MOST_NAMED
    steps = (await store.client.info("commandstats"))["cmdstat_hscan"]["calls"]
    assert 10 <= steps <= 50
    clock.now += module.CHARGES_LIFE_S
    await store.client.delete(f"{PREFIX}mem")
    assert (await headroom.charges()).total == 0


@pytest.mark.parametrize("wait", [0, 2000])
async def test_what_waits_is_left_room_to_end(store: AsyncStore, wait: int) -> None:
    await store.client.setrange("ballast", BALLAST, "x")
    if wait:
        await store.client.hset(f"{PREFIX}mem", "", wait * ROOM)
    used = int((await store.client.info("memory"))["used_memory"])
    await store.client.config_set("maxmemory", int((used + 1000 * ROOM) / 0.9))
    assert await Headroom(store, 0.9).has_room() is (not wait)


async def test_a_store_without_a_limit_takes_work(store: AsyncStore) -> None:
    await Headroom(store, 0.9).check()


async def test_an_operator_reads_once_that_the_store_may_evict_accepted_jobs(
    store: AsyncStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MEMORY_LIFE_S", 0.0)
    headroom = Headroom(store, 0.9)
    for policy, told in (("noeviction", 0), ("allkeys-lru", 1), ("allkeys-lru", 1), ("volatile-ttl", 1)):
        await store.client.config_set("maxmemory-policy", policy)
        await headroom.check()
        assert ["may evict accepted jobs" in line for line in caplog.messages] == [True] * told


async def test_a_burst_after_room_was_made_is_taken_as_a_whole(
    store: AsyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: at))
    headroom = Headroom(store, 0.9)
    await store.client.config_set("maxmemory", 1)
    assert not await headroom.has_room()
    await store.client.config_set("maxmemory", 0)
    at += 3600
    await store.client.config_resetstat()
    assert await asyncio.gather(*(headroom.has_room() for _ in range(8))) == [True] * 8
    assert (await store.client.info("commandstats"))["cmdstat_info"]["calls"] == 1


async def test_a_burst_at_the_start_of_an_api_leaves_the_room_to_accepted_work(store: AsyncStore) -> None:
    await store.client.config_set("maxmemory", 1)
    headroom = Headroom(store, 0.9)
    assert await asyncio.gather(*(headroom.has_room() for _ in range(8))) == [False] * 8


async def test_who_hangs_up_takes_the_reading_from_nobody(store: AsyncStore) -> None:
    headroom = Headroom(store, 0.9)
    leaver, other = asyncio.ensure_future(headroom.has_room()), asyncio.ensure_future(headroom.has_room())
    await asyncio.sleep(0)
    leaver.cancel()
    assert await other
