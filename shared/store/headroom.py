"""The memory of the record store's server: what is taken of it, and whether there is room for more.

At its memory limit workers cannot even start, so new work is refused before that. A server may also take no
writes at all, for reasons of its own.
"""

import asyncio
import heapq
import logging
import math
import time
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
ROOM_IN_S = 30.0
"""Retry-After of a refused caller: when jobs end or are deleted is not known."""


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
        self._refusal_throttle = LogThrottle()
        self._eviction_warning = EvictionWarning()

    async def memory(self) -> Memory:
        """As it is, or was a second ago. Raises Unavailable."""
        return await self._memory.value(MEMORY_LIFE_S)

    async def charges(self) -> Charges:
        """What callers are charged, as it is, or was some seconds ago. Raises Unavailable."""
        return await self._charges.value(CHARGES_LIFE_S)

    async def _read_memory(self) -> Memory:
        self._last = await self._store.run(memory())
        self._eviction_warning.check(self._last)
        return self._last

    async def _read_charges(self) -> Charges:
        with store_errors():
            rows = [row async for row in self._store.client.hscan_iter(f"{PREFIX}mem", count=AT_ONCE)]
        # A walk may come by a caller twice; '' is what is reserved of all.
        charged_to = {caller: int(bytes_) for caller, bytes_ in rows if caller}
        most = heapq.nlargest(MOST_NAMED, charged_to.items(), lambda row: row[1])
        return Charges(sum(charged_to.values()), tuple(most))

    async def has_room(self) -> bool:
        """Whether there is room beyond what accepted work needs. Raises Unavailable."""
        return (await self.memory()).share < self._full_at

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where accepted work needs the room that is left."""
        if not await self.has_room():
            raise self.full()

    @property
    def spare(self) -> int | None:
        """Bytes for records and reserves that were left at the last look; None without a limit."""
        limit = self._last.limit
        return int(self._full_at * limit) - self._last.used if limit else None

    def full(self, wanted: int = 0) -> Unavailable:
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
        message = "The record store is nearly full (maxmemory of its Redis); accepted jobs still run."
        return Unavailable("store_unavailable", message, retry_after=ROOM_IN_S)

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
        message = "Your jobs nearly fill the record store: delete some, or wait until others end or expire."
        raise Unavailable("caller_queue_full", message, retry_after=ROOM_IN_S)
