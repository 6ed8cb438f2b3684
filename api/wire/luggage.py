"""Memory for what callers bring: the bodies of their requests, until what is in them is stored."""

import asyncio

from shared.errors import Unavailable

FREE = 64 * 2**10
"""Bytes that every call may bring."""
SIZE = 64 * 2**20
"""Bytes of all larger calls of a process; reading one takes up to five times as many for a moment."""
WAIT_LIMIT_S = 5.0


class Rack:
    """Shared by the calls of one process. Who came first always goes on, so that some come to their end."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._held: dict[Luggage, int] = {}
        self._changed = asyncio.Condition()

    async def take(self, luggage: "Luggage", count: int) -> None:
        """Hold `count` bytes more. Raises Unavailable `queue_full` where there is no room for long."""
        self._held.setdefault(luggage, 0)
        try:
            async with asyncio.timeout(WAIT_LIMIT_S), self._changed:
                await self._changed.wait_for(lambda: self._fits(luggage, count))
        except TimeoutError:
            message = "Too many large requests arrive at once."
            raise Unavailable("queue_full", message, retry_after=WAIT_LIMIT_S) from None
        self._held[luggage] += count

    async def leave(self, luggage: "Luggage") -> None:
        if self._held.pop(luggage, None) is not None:
            async with self._changed:
                self._changed.notify_all()

    def _fits(self, luggage: "Luggage", count: int) -> bool:
        return next(iter(self._held)) is luggage or sum(self._held.values()) + count <= self._size


class Luggage:
    """What one call brings; it leaves when it was stored, at the latest with the answer."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack
        self._count = 0

    async def take(self, count: int) -> None:
        """Raises Unavailable `queue_full`."""
        self._count += count
        if self._count > FREE:
            await self._rack.take(self, count)

    async def leave(self) -> None:
        await self._rack.leave(self)
