"""The memory of the record store's server: what is taken of it, and whether there is room for more.

At its memory limit workers cannot even start, so new work is refused before that. A server may also take no
writes at all, for reasons of its own.
"""

import asyncio
import heapq
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from shared.errors import CallerError, Unavailable
from shared.log_throttle import LogThrottle
from shared.settings import Settings
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.records import read
from shared.store.script import AsyncStore, ScriptCall, WritesRefused, store_errors

log = logging.getLogger("shared.store")
T = TypeVar("T")
MEMORY_LIFE_S = 1.0
"""The store's memory is read again after this long."""
CHARGES_LIFE_S = 10.0
"""Who is charged what is read in full again after this long."""
AT_ONCE = 500
"""Callers whose bytes are read in one step: there may be many thousands."""
MOST_NAMED = 10
SHARE = 8
"""One caller holds at most this many times what is left."""
TREND_S, LEAST_S, UNKNOWN_S = 60.0, 5.0, 30.0
"""A trend is that of the last minute; before five seconds of it are known, half a minute is the advice."""
LONGEST_S = 600.0
HOUR_S = 3600


def writable(settings: Settings) -> ScriptCall[bool]:
    """A write that changes nothing: a store that takes no writes refuses it."""
    return ScriptCall("writable", {}, bool, constants=constants(settings))


async def takes_writes(store: AsyncStore, settings: Settings) -> bool:
    """Raises Unavailable where the store hangs or does not answer."""
    try:
        return await store.run(writable(settings))
    except WritesRefused:
        return False


class Memory(NamedTuple):
    """In bytes; a `limit` of 0 is none. `evicts` is true where records may vanish when it is full.

    `promised` is what accepted work may take more until it has ended, `bad` how many records could not
    be read.
    """

    used: int
    limit: int
    evicts: bool
    promised: int = 0
    bad: int = 0

    @property
    def taken(self) -> int:
        """What is used or promised."""
        return self.used + self.promised

    @property
    def share(self) -> float:
        """What is taken of its limit; 0 where it has none."""
        return self.taken / self.limit if self.limit else 0.0


def memory() -> ScriptCall[Memory]:
    """Read the server's memory now, and what is reserved of it."""

    def parse(reply: list[int]) -> Memory:
        used, limit, evicts, promised, bad = reply
        return Memory(used, limit, bool(evicts), promised, bad)

    return ScriptCall("memory", {}, parse)


def holding(caller: str) -> ScriptCall[int]:
    """How many bytes a caller is charged; deleted jobs do not count."""
    return read(("HGET", "mem", caller), lambda reply: int(reply or 0))


def fold() -> ScriptCall[bool]:
    """Take off callers' accounts what expired, a piece of it; whether there may be more."""
    return ScriptCall("fold", {}, bool)


class Charges(NamedTuple):
    """Bytes that callers are charged, with what is reserved for them, and those who are charged most."""

    total: int
    most: tuple[tuple[str, int], ...]


async def _charges_by_hash(store: AsyncStore, name: str) -> Charges:
    """Raises Unavailable."""
    with store_errors():
        rows = [row async for row in store.client.hscan_iter(f"{PREFIX}{name}", count=AT_ONCE)]
    # A walk may come by a caller twice; '' is what is reserved of all.
    bytes = {caller: int(charged) for caller, charged in rows if caller}
    return Charges(sum(bytes.values()), tuple(heapq.nlargest(MOST_NAMED, bytes.items(), lambda row: row[1])))


class Expiring(NamedTuple):
    """Bytes that go by themselves in this hour and in the next one, and how much of this hour is left."""

    now: int
    then: int
    left_s: float

    def frees_in_s(self, bytes: int) -> float:
        """Seconds until so much is gone, as if an hour's bytes went evenly; inf where it is not enough."""
        soon = self.now * self.left_s / HOUR_S
        if bytes <= soon:
            return bytes * HOUR_S / self.now
        if bytes - soon <= self.then:
            return self.left_s + (bytes - soon) * HOUR_S / self.then
        return math.inf


async def _read_expiring(store: AsyncStore) -> Expiring:
    """Raises Unavailable."""
    hour, passed_s = divmod(time.time(), HOUR_S)
    now, then = [(await _charges_by_hash(store, f"keep:{int(hour) + ahead}")).total for ahead in (1, 2)]
    return Expiring(max(now, 0), max(then, 0), HOUR_S - passed_s)


class Trend:
    """What was used and reserved in the last minute, as this process read it."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def add(self, at: float, taken: int) -> None:
        self._readings.append((at, taken))
        while self._readings[0][0] < at - TREND_S:
            self._readings.popleft()

    def frees_in_s(self, bytes: int) -> float:
        """Seconds until so much is free if it goes on as since the peak; inf where it does not fall."""
        (first, _), (last, taken) = self._readings[0], self._readings[-1]
        if last - first < LEAST_S:
            return UNKNOWN_S
        peak_at, peak = max(self._readings, key=lambda reading: reading[1])
        return bytes * (last - peak_at) / (peak - taken) if peak > taken else math.inf


class EvictionWarning:
    """Warns once per process that the store may evict: accepted jobs would vanish without a word."""

    def __init__(self) -> None:
        self._evicts = False

    def check(self, memory: Memory) -> None:
        """Warn, unless the same policy was warned of last."""
        if memory.evicts and not self._evicts:
            log.warning("the record store may evict accepted jobs: set its maxmemory-policy to noeviction")
        self._evicts = memory.evicts


class _CachedReading(Generic[T]):
    """Something read now and then. Callers that come during a reading share it, and its failure."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._read_at = -math.inf
        self.task: asyncio.Future[T] | None = None

    async def value(self, life_s: float) -> T:
        """As it is, or was up to `life_s` ago."""
        fresh = time.monotonic() - self._read_at < life_s
        if fresh and self.task is not None and self.task.done():
            return self.task.result()
        if self.task is None or self.task.done():
            self.task = asyncio.ensure_future(self._fresh())
            # Those who wait get its failure; where all of them have left, nobody does.
            self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        # The reading goes on for the others where the caller that began it leaves.
        return await asyncio.shield(self.task)

    async def _fresh(self) -> T:
        value = await self._read()
        self._read_at = time.monotonic()
        return value


class Headroom:
    """What is left of the record store's memory, as one process knows it."""

    def __init__(self, store: AsyncStore, full_at: float) -> None:
        self._store = store
        self._full_at = full_at
        self._last = Memory(0, 0, evicts=False)
        self._memory = _CachedReading(self._read_memory)
        self._charges = _CachedReading(self._read_charges)
        self._trend = Trend()
        self._refusal_throttle = LogThrottle()
        self._eviction_warning = EvictionWarning()

    async def memory(self) -> Memory:
        """As it is, or was a second ago. Raises Unavailable."""
        return await self._memory.value(MEMORY_LIFE_S)

    async def charges(self) -> Charges:
        """What callers are charged, as it is, or was some seconds ago. Raises Unavailable."""
        return (await self._charges.value(CHARGES_LIFE_S))[0]

    async def _read_memory(self) -> Memory:
        self._last = await self._store.run(memory())
        self._eviction_warning.check(self._last)
        self._trend.add(time.monotonic(), self._last.taken)
        return self._last

    async def _read_charges(self) -> tuple[Charges, Expiring]:
        return await _charges_by_hash(self._store, "mem"), await _read_expiring(self._store)

    async def has_room(self) -> bool:
        """Whether there is room beyond what accepted work needs. Raises Unavailable."""
        return (await self.memory()).share < self._full_at

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where accepted work needs the room that is left."""
        if not await self.has_room():
            raise await self.full()

    @property
    def spare(self) -> int | None:
        """Bytes for records and reserves that were left at the last look; None without a limit."""
        limit = self._last.limit
        return int(self._full_at * limit) - self._last.used if limit else None

    async def room_in_s(self, wanted: int = 0) -> float:
        """Seconds, about, until there is room for so many bytes more. Raises Unavailable.

        The rule stands in docs/decisions/reserve.md.
        """
        memory = await self.memory()
        over = memory.taken + wanted - int(self._full_at * memory.limit)
        return await self._frees_in_s(over) if memory.limit and over >= 0 else 0.0

    async def _frees_in_s(self, over: int) -> float:
        _, expiring = await self._charges.value(CHARGES_LIFE_S)
        over = max(over, 1)
        soonest = min(self._trend.frees_in_s(over), expiring.frees_in_s(over), LONGEST_S)
        return float(max(1, math.ceil(soonest)))

    async def full(self, wanted: int = 0) -> Unavailable:
        """The error of new work for which there is no room beside what accepted work may need.

        Raises CallerError where there never is.
        """
        most = int(self._full_at * self._last.limit)
        if wanted > most > 0:
            raise CallerError(
                "invalid_request",
                f"The answer may take {wanted} bytes, and this service keeps {most} bytes for all: ask for "
                "fewer tokens, answers or logprobs.",
            )
        room_in_s = max(1.0, await self.room_in_s(wanted))
        message = (
            "The record store is nearly full; what was accepted goes on. "
            f"There should be room in about {room_in_s:.0f} s."
        )
        return Unavailable("store_unavailable", message, retry_after=room_in_s)

    async def check_share(self, caller: str) -> None:
        """Raises Unavailable `caller_queue_full` where this caller must leave the remaining room to others.

        Judges by the memory that `check` saw. The rule is that of `RequestLimit.place`, with a larger
        share: one caller alone fills eight ninths of what may be used, as much as the records should ever
        need.
        """
        most = SHARE * (self._full_at * self._last.limit - self._last.taken)
        if not self._last.limit or self._last.used <= most:
            return
        charged = await self._store.run(holding(caller))
        if charged <= most:
            return
        if self._refusal_throttle.due():
            log.warning("requests of %s are refused: its jobs nearly fill the record store", caller)
        # As soon as an eighth of what it holds too much is free, whoever's it was.
        free_in_s = await self._frees_in_s(math.ceil((charged - most) / SHARE))
        message = (
            "Your jobs nearly fill the record store: delete some, or wait until others end or expire, "
            f"about {free_in_s:.0f} s."
        )
        raise Unavailable("caller_queue_full", message, retry_after=free_in_s)
