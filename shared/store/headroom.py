"""Whether the record store takes what is new.

At its limit of memory workers cannot even start, so new work is refused before. A server may also take no
writes at all, for reasons of its own.
"""

import asyncio
import time

from shared.errors import Unavailable
from shared.settings import Settings
from shared.store.script import AsyncStore, Call, Script
from shared.store.workers import watching

MEMORY = Script("memory")
WRITABLE = Script("writable")
LOOKED_AT_S = 1.0
"""The store's memory is read again after this long."""


def memory() -> Call[float]:
    """The share of the server's memory limit that is used; 0 where it has none."""
    return Call(MEMORY, {}, lambda reply: reply[0] / reply[1] if reply[1] else 0.0)


def writable(settings: Settings) -> Call[bool]:
    """Whether it takes writes. One that hangs or does not answer is Unavailable, as to every call."""
    return Call(WRITABLE, watching(settings), bool)


class Headroom:
    """What is left of the record store's memory, as one process knows it."""

    def __init__(self, store: AsyncStore, full_at: float) -> None:
        self._store = store
        self._full_at = full_at
        self._looked = -LOOKED_AT_S
        self._share = 0.0
        self._reading: asyncio.Future[None] | None = None

    async def left(self) -> bool:
        """Whether there is room for more than what is accepted needs. Raises Unavailable."""
        if time.monotonic() - self._looked >= LOOKED_AT_S:
            await self._look()
        return self._share < self._full_at

    async def _look(self) -> None:
        """Who comes while it is read waits for that reading: what was read before may be of any age."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read())
            # Its failure is told to who waits; where all of them have left it is nobody's.
            self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        # Others wait for it where the first of them leaves.
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        self._share = await self._store.run(memory())
        self._looked = time.monotonic()

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where what is accepted needs the room that is left."""
        if not await self.left():
            message = "The record store is nearly full; what was accepted goes on. Try again later."
            raise Unavailable("store_unavailable", message, retry_after=30)
