"""Before its memory is full the record store takes no new work, so that accepted work can end."""

import asyncio
import time
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
from tests.support.existing import existing

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
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, time=time.time))
    return clock


async def advice(headroom: Headroom) -> float | None:
    with pytest.raises(Unavailable) as refused:
        await headroom.check()
    told = refused.value.retry_after
    assert f"about {told:.0f} s" in refused.value.message
    return told


async def test_a_full_store_says_when_there_is_room_by_how_fast_accepted_work_ends(
    store: AsyncStore, clock: SimpleNamespace
) -> None:
    await store.client.config_set("maxmemory", 100 * 2**20)
    headroom = Headroom(store, 0.9)
    for reserved in (500, 400):
        await store.client.hset(f"{PREFIX}mem", "", reserved * 2**20)
        told = await advice(headroom)
        clock.now += 20
    # 100 MiB in 20 s, some 310 MiB and what is used to go.
    assert told is not None
    assert 62 <= told <= 70
    await store.client.hset(f"{PREFIX}mem", "", 10 * 2**20)
    assert await headroom.has_room()
    assert await headroom.room_in_s() == 0


async def test_a_store_that_nothing_leaves_says_10_minutes(store: AsyncStore, clock: SimpleNamespace) -> None:
    await store.client.config_set("maxmemory", 100 * 2**20)
    await store.client.hset(f"{PREFIX}mem", "", 500 * 2**20)
    headroom = Headroom(store, 0.9)
    assert await advice(headroom) == 30, "nothing is known yet"
    clock.now += 10
    await store.client.hset(f"{PREFIX}mem", "", 600 * 2**20)
    assert await advice(headroom) == 600


async def test_a_full_store_relies_on_what_expires(
    store: AsyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, time=lambda: 7200.0))
    await store.client.config_set("maxmemory", 100 * 2**20)
    await store.client.hset(f"{PREFIX}mem", "", 90 * 2**20)
    await store.client.hset(
        f"{PREFIX}keep:3", mapping={f"caller_{number}": 30 * 2**20 for number in range(20)}
    )
    headroom = Headroom(store, 0.9)
    told = existing(await advice(headroom))
    # What is used by an empty server is over, and 600 MiB go in an hour.
    assert 1 <= told < 30


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
