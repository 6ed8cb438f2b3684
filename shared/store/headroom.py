"""Whether the record store has room for new work.

At its memory limit workers cannot even start, so new work is refused before that. A server may also take no
writes at all, for reasons of its own.
"""

import asyncio
import logging
import math
import time
from collections import deque

from shared.errors import Unavailable
from shared.log_throttle import LogThrottle
from shared.settings import Settings
from shared.store.constants import constants
from shared.store.memory import (
    Charges,
    Eviction,
    Expiring,
    Memory,
    holding,
    memory,
    read_charges,
    read_expiring,
)
from shared.store.script import AsyncStore, Script, ScriptCall, WritesRefused

log = logging.getLogger("shared.store")
WRITABLE = Script("writable")
LOOKED_AT_S = 1.0
"""The store's memory is read again after this long."""
SHARE = 8
"""One caller holds at most this many times what is left."""
TREND_S, LEAST_S, UNKNOWN_S = 60.0, 5.0, 30.0
"""A trend is that of the last minute; before five seconds of it are known, half a minute is the advice."""
LONGEST_S = 600.0
FILLING_KEPT_S = 10.0
"""Who is charged what is read in full again after this long."""


def writable(settings: Settings) -> ScriptCall[bool]:
    """A write that changes nothing: a store that takes no writes refuses it."""
    return ScriptCall(WRITABLE, {}, bool, constants=constants(settings))


async def takes_writes(store: AsyncStore, settings: Settings) -> bool:
    """Raises Unavailable where the store hangs or does not answer."""
    try:
        return await store.run(writable(settings))
    except WritesRefused:
        return False


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


class Headroom:
    """What is left of the record store's memory, as one process knows it."""

    def __init__(self, store: AsyncStore, full_at: float) -> None:
        self._store = store
        self._full_at = full_at
        self._looked = -LOOKED_AT_S
        self._memory = Memory(0, 0, evicts=False)
        self._trend = Trend()
        self._walking = asyncio.Lock()
        self._walked = -FILLING_KEPT_S
        self._charges = Charges(0, ())
        self._expiring = Expiring(0, 0, 0.0)
        self._refusing = LogThrottle()
        self._eviction = Eviction()
        self._reading: asyncio.Future[None] | None = None

    async def left(self) -> bool:
        """Whether there is room beyond what accepted work needs. Raises Unavailable."""
        return (await self.memory()).share < self._full_at

    async def memory(self) -> Memory:
        """As it is, or was a second ago. Raises Unavailable."""
        if time.monotonic() - self._looked >= LOOKED_AT_S:
            await self._look()
        return self._memory

    async def charges(self) -> Charges:
        """What callers are charged, as it is, or was some seconds ago. Raises Unavailable."""
        await self._walk()
        return self._charges

    async def _walk(self) -> None:
        async with self._walking:
            if time.monotonic() - self._walked >= FILLING_KEPT_S:
                self._charges = await read_charges(self._store)
                self._expiring = await read_expiring(self._store)
                self._walked = time.monotonic()

    async def room_in_s(self, wanted: int = 0) -> float:
        """Seconds, about, until there is room for so many bytes more. Raises Unavailable.

        The rule stands in docs/decisions/reserve.md.
        """
        memory = await self.memory()
        over = memory.used + memory.promised + wanted - int(self._full_at * memory.limit)
        return await self._frees_in_s(over) if memory.limit and over >= 0 else 0.0

    async def _frees_in_s(self, over: int) -> float:
        await self._walk()
        over = max(over, 1)
        soonest = min(self._trend.frees_in_s(over), self._expiring.frees_in_s(over), LONGEST_S)
        return float(max(1, math.ceil(soonest)))

    async def full(self, wanted: int = 0) -> Unavailable:
        """The error of new work for which there is no room beside what accepted work may need."""
        room_in_s = max(1.0, await self.room_in_s(wanted))
        message = (
            "The record store is nearly full; what was accepted goes on. "
            f"There should be room in about {room_in_s:.0f} s."
        )
        return Unavailable("store_unavailable", message, retry_after=room_in_s)

    async def _look(self) -> None:
        """Whoever comes during a reading waits for it: the result before may be of any age."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read())
            # Those who wait get its failure; where all of them have left, nobody does.
            self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        # The reading goes on for the others where the caller that began it leaves.
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        self._memory = await self._store.run(memory())
        self._eviction.see(self._memory)
        self._looked = time.monotonic()
        self._trend.add(self._looked, self._memory.used + self._memory.promised)

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where accepted work needs the room that is left."""
        if not await self.left():
            raise await self.full()

    @property
    def spare(self) -> int | None:
        """Bytes for records and reserves that were left at the last look; None without a limit."""
        if not self._memory.limit:
            return None
        return int(self._full_at * self._memory.limit) - self._memory.used

    async def check_share(self, caller: str) -> None:
        """Raises Unavailable `caller_queue_full` where this caller must leave the remaining room to others.

        Judges by the memory that `check` saw. The rule is that of `RequestLimit.place`, with a larger
        share: one caller alone fills eight ninths of what may be used, as much as the records should ever
        need.
        """
        most = SHARE * (self._full_at * self._memory.limit - self._memory.used - self._memory.promised)
        if not self._memory.limit or self._memory.used <= most:
            return
        held = await self._store.run(holding(caller))
        if held > most:
            self._tell(caller)
            # As soon as an eighth of what it holds too much is free, whoever's it was.
            free_in_s = await self._frees_in_s(math.ceil((held - most) / SHARE))
            message = (
                "Your jobs nearly fill the record store: delete some, or wait until others end or expire, "
                f"about {free_in_s:.0f} s."
            )
            raise Unavailable("caller_queue_full", message, retry_after=free_in_s)

    def _tell(self, caller: str) -> None:
        """Tell operators which caller is refused, now and then."""
        if self._refusing.due():
            log.warning("requests of %s are refused: its jobs nearly fill the record store", caller)
