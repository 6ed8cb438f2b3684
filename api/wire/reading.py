"""Reads what bodies say: small plain ones at once, others beside the event loop, one at a time.

Callers take turns with those. Checking a schema takes ten times as long as parsing it, and reading a large
body takes several times its memory; two are no faster side by side.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

SHORT, LARGE = 2**10, 64 * 2**10
"""Bytes: a shorter body takes less time than a thread, and a larger one would hold up every stream."""
MOST_OBJECTS = 200
"""Each takes as long to read as hundreds of bytes of text."""
# A body between them may hold a schema if it has one of these; nobody but a hostile caller writes \u00.
SCHEMA = (b"schema", b"tools", b"functions", b"json", b"regex", b"grammar", b"\\u00")
_THREAD = ThreadPoolExecutor(1, "reader")


class Turns:
    """One at a time; who waits is served caller by caller, each caller's in their order."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        if self._taken:
            await self._wait(caller)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self._pass_on()  # it was given the turn just now
            raise

    def _pass_on(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            caller, line = next(iter(self._waiting.items()))
            del self._waiting[caller]
            first = line.popleft()
            if line:
                self._waiting[caller] = line  # behind the other callers
            if not first.done():
                first.set_result(None)
                self._taken = True


_turns = Turns()


async def translated(caller: str, body: bytes, read: Callable[[bytes], T]) -> T:
    """`read(body)`. Raises what that raises."""
    if len(body) <= SHORT or _plain(body):
        return read(body)
    async with _turns.turn(caller):
        return await asyncio.get_running_loop().run_in_executor(_THREAD, read, body)


def _plain(body: bytes) -> bool:
    few = len(body) <= LARGE and body.count(b"{") <= MOST_OBJECTS
    return few and not any(word in body for word in SCHEMA)
