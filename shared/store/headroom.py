"""Whether the record store has room for new work.

At its memory limit workers cannot even start, so new work is refused before that. A server may also take no
writes at all, for reasons of its own.
"""

import asyncio
import logging
import time

from shared.errors import Unavailable
from shared.log_throttle import LogThrottle
from shared.settings import Settings
from shared.store.holdings import holding
from shared.store.memory import Eviction, Memory, memory
from shared.store.script import AsyncStore, Script, ScriptCall, WritesRefused
from shared.store.workers import watching

log = logging.getLogger("shared.store")
WRITABLE = Script("writable")
LOOKED_AT_S = 1.0
"""The store's memory is read again after this long."""
SHARE = 8
"""One caller holds at most this many times what is left."""


def writable(settings: Settings) -> ScriptCall[bool]:
    """A write that changes nothing: a store that takes no writes refuses it."""
    return ScriptCall(WRITABLE, watching(settings), bool)


async def takes_writes(store: AsyncStore, settings: Settings) -> bool:
    """Raises Unavailable where the store hangs or does not answer."""
    try:
        return await store.run(writable(settings))
    except WritesRefused:
        return False


def full() -> Unavailable:
    """The error of new work for which there is no room beside what accepted work may need."""
    message = "The record store is nearly full; what was accepted goes on. Try again later."
    return Unavailable("store_unavailable", message, retry_after=30)


class Headroom:
    """What is left of the record store's memory, as one process knows it."""

    def __init__(self, store: AsyncStore, full_at: float) -> None:
        self._store = store
        self._full_at = full_at
        self._looked = -LOOKED_AT_S
        self._memory = Memory(0, 0, evicts=False)
        self._refusing = LogThrottle()
        self._eviction = Eviction()
        self._reading: asyncio.Future[None] | None = None

    async def left(self) -> bool:
        """Whether there is room beyond what accepted work needs. Raises Unavailable."""
        if time.monotonic() - self._looked >= LOOKED_AT_S:
            await self._look()
        return self._memory.share < self._full_at

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

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where accepted work needs the room that is left."""
        if not await self.left():
            raise full()

    @property
    def spare(self) -> int | None:
        """Bytes for records and reserves that were left at the last look; None without a limit."""
        if not self._memory.limit:
            return None
        return int(self._full_at * self._memory.limit) - self._memory.used

    async def check_share(self, caller: str, result_s: int) -> None:
        """Raises Unavailable `caller_queue_full` where this caller must leave the remaining room to others.

        Judges by the memory that `check` saw. The rule is that of `RequestLimit.place`, with a larger
        share: one caller alone fills eight ninths of what may be used, as much as the records should ever
        need.
        """
        most = SHARE * (self._full_at * self._memory.limit - self._memory.used - self._memory.promised)
        if not self._memory.limit or self._memory.used <= most:
            return
        if await self._store.run(holding(caller, result_s)) > most:
            self._tell(caller)
            message = "Your jobs nearly fill the record store: delete some, or wait until they expire."
            raise Unavailable("caller_queue_full", message, retry_after=59)

    def _tell(self, caller: str) -> None:
        """Tell operators which caller is refused, now and then."""
        if self._refusing.due():
            log.warning("requests of %s are refused: its jobs nearly fill the record store", caller)
