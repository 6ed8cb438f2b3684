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
WAIT_LIMIT_S = 60.0


class MemoryBudget:
    """Shared by the calls of one process; free room goes to the caller who holds least.

    A caller holds at most half of it, which leaves room for callers who come later. But the oldest call of
    all always goes on, and each caller's oldest call goes on beyond the half: so some calls always finish.
    Without API keys everybody is one caller, who may hold all of it: `shared` is False then.
    """

    def __init__(self, size: int = SIZE, *, shared: bool = True) -> None:
        self._size = size
        self._shared = shared
        # Both in order of arrival: all calls, and those of each caller.
        self._counts: dict[Reservation, int] = {}
        self._by_caller: dict[str, dict[Reservation, None]] = {}
        self._sums: Counter[str] = Counter()
        self._waiting: dict[Reservation, tuple[int, asyncio.Future[None]]] = {}

    async def take(self, reservation: "Reservation", count: int) -> None:
        """Hold `count` bytes more. Raises Unavailable `queue_full` where there is no room for long."""
        if reservation not in self._counts:
            self._counts[reservation] = 0
            self._by_caller.setdefault(reservation.caller, {})[reservation] = None
        if self._fits(reservation, count):
            self._hold(reservation, count)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[reservation] = count, turn
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                await turn
        except TimeoutError:
            message = "Too many large requests, or pages, at once."
            raise Unavailable("queue_full", message, retry_after=WAIT_LIMIT_S) from None
        finally:
            self._waiting.pop(reservation, None)

    def release(self, reservation: "Reservation") -> None:
        amount = self._counts.pop(reservation, None)
        if amount is None:
            return
        own = self._by_caller[reservation.caller]
        del own[reservation]
        self._sums[reservation.caller] -= amount
        if not own:
            del self._by_caller[reservation.caller], self._sums[reservation.caller]
        self._give_turns()

    def _give_turns(self) -> None:
        for reservation in sorted(self._waiting, key=lambda reservation: self._sums[reservation.caller]):
            count, turn = self._waiting[reservation]
            if not turn.done() and self._fits(reservation, count):
                self._hold(reservation, count)
                turn.set_result(None)

    def _hold(self, reservation: "Reservation", count: int) -> None:
        self._counts[reservation] += count
        self._sums[reservation.caller] += count

    def _fits(self, reservation: "Reservation", count: int) -> bool:
        if next(iter(self._counts)) is reservation:
            return True
        if self._sums.total() + count > self._size:
            return False
        caller = reservation.caller
        share = self._sums[caller] + count <= self._size // 2
        return not (self._shared and caller) or share or next(iter(self._by_caller[caller])) is reservation


class Reservation:
    """The memory one call takes up; given back once its content is stored, at the latest with the answer.

    `caller` is "" where the service has no keys: then anybody may take all the room.
    """

    def __init__(self, budget: MemoryBudget, caller: str = "") -> None:
        self.caller = caller
        self._budget = budget
        self._count = 0

    async def take(self, count: int) -> None:
        """Raises Unavailable `queue_full`."""
        self._count += count
        if self._count > FREE:
            await self._budget.take(self, count)

    async def release(self) -> None:
        if self._count > FREE:
            self._budget.release(self)

    async def __aenter__(self) -> "Reservation":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()


@asynccontextmanager
async def reserved(budget: MemoryBudget, caller: str, count: int) -> AsyncIterator[None]:
    """Holds `count` bytes for something about to be read. Raises Unavailable `queue_full`."""
    async with Reservation(budget, caller) as reservation:
        await reservation.take(count)
        yield
