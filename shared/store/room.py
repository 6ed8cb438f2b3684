"""How full the record store is: at its limit workers cannot even start, so new work is refused before."""

import time

from shared.errors import Unavailable
from shared.store.script import AsyncStore, reaching

LOOKED_AT_S = 1.0
"""The store's memory is read again after this long."""


class Room:
    """What is left of the record store's memory, as one process knows it."""

    def __init__(self, store: AsyncStore, full_at: float) -> None:
        self._store = store
        self._full_at = full_at
        self._looked = -LOOKED_AT_S
        self._share = 0.0

    async def check(self) -> None:
        """Raises Unavailable `store_unavailable` where what is accepted needs the room that is left."""
        if time.monotonic() - self._looked >= LOOKED_AT_S:
            self._looked = time.monotonic()
            self._share = await self._measured()
        if self._share >= self._full_at:
            message = "The record store is nearly full; what was accepted goes on. Try again later."
            raise Unavailable("store_unavailable", message, retry_after=30)

    async def _measured(self) -> float:
        with reaching():
            memory = await self._store.client.info("memory")
        limit = int(memory.get("maxmemory", 0))
        return int(memory["used_memory"]) / limit if limit else 0.0
