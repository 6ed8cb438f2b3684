"""Shares out memory among callers: for request bodies until their content is stored, and for the pages they
ask for until those are written.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import Unavailable

FREE = 64 * 2**10
"""Bytes that every call may bring uncounted."""
SIZE = 64 * 2**20
"""Bytes for all larger calls of a process; parsing a body briefly takes up to five times its size."""
WAIT_LIMIT_S = 5.0


class Rack:
    """Shared by the calls of one process; free room goes to the caller who holds least.

    A caller holds at most half of it, which leaves room for callers who come later. But the oldest call of
    all always goes on, and each caller's oldest call goes on beyond the half: so some calls always finish.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        # Both in order of arrival: all calls, and those of each caller.
        self._held: dict[Luggage, int] = {}
        self._brought: dict[str, dict[Luggage, None]] = {}
        self._sums: Counter[str] = Counter()
        self._waiting: dict[Luggage, tuple[int, asyncio.Future[None]]] = {}

    async def take(self, luggage: "Luggage", count: int) -> None:
        """Hold `count` bytes more. Raises Unavailable `queue_full` where there is no room for long."""
        if luggage not in self._held:
            self._held[luggage] = 0
            self._brought.setdefault(luggage.caller, {})[luggage] = None
        if self._fits(luggage, count):
            self._hold(luggage, count)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[luggage] = count, turn
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                await turn
        except TimeoutError:
            message = "Too many large requests, or pages, at once."
            raise Unavailable("queue_full", message, retry_after=WAIT_LIMIT_S) from None
        finally:
            self._waiting.pop(luggage, None)

    def leave(self, luggage: "Luggage") -> None:
        held = self._held.pop(luggage, None)
        if held is None:
            return
        brought = self._brought[luggage.caller]
        del brought[luggage]
        self._sums[luggage.caller] -= held
        if not brought:
            del self._brought[luggage.caller], self._sums[luggage.caller]
        self._give_turns()

    def _give_turns(self) -> None:
        for luggage in sorted(self._waiting, key=lambda luggage: self._sums[luggage.caller]):
            count, turn = self._waiting[luggage]
            if not turn.done() and self._fits(luggage, count):
                self._hold(luggage, count)
                turn.set_result(None)

    def _hold(self, luggage: "Luggage", count: int) -> None:
        self._held[luggage] += count
        self._sums[luggage.caller] += count

    def _fits(self, luggage: "Luggage", count: int) -> bool:
        if next(iter(self._held)) is luggage:
            return True
        if self._sums.total() + count > self._size:
            return False
        caller = luggage.caller
        share = self._sums[caller] + count <= self._size // 2
        return not caller or share or next(iter(self._brought[caller])) is luggage


class Luggage:
    """The memory one call takes up; given back once its content is stored, at the latest with the answer.

    `caller` is "" where the service has no keys: then anybody may take all the room.
    """

    def __init__(self, rack: Rack, caller: str = "") -> None:
        self.caller = caller
        self._rack = rack
        self._count = 0

    async def take(self, count: int) -> None:
        """Raises Unavailable `queue_full`."""
        self._count += count
        if self._count > FREE:
            await self._rack.take(self, count)

    async def leave(self) -> None:
        self._rack.leave(self)


@asynccontextmanager
async def room(rack: Rack, caller: str, count: int) -> AsyncIterator[None]:
    """Holds `count` bytes for something about to be read. Raises Unavailable `queue_full`."""
    luggage = Luggage(rack, caller)
    try:
        await luggage.take(count)
        yield
    finally:
        await luggage.leave()
