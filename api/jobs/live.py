"""What changes while somebody watches: one poll a second for all watchers of the same thing in a process."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

POLL_S = 1.0
LIVE_S = 900
"""A stream lasts no longer: a key that is revoked meanwhile opens no other."""
Marks = Mapping[str, Any]
"""The state of each thing by its name."""


class SharedPolls:
    """One per process. A poll that failed fails for all who share it."""

    def __init__(self) -> None:
        self._polls: dict[str, tuple[float, asyncio.Future[Marks]]] = {}

    async def marks(self, subject: str, poll: Callable[[], Awaitable[Marks]]) -> Marks:
        """What `poll` returns, or returned within the last second for the same subject. Raises as it does."""
        now = time.monotonic()
        begun, marks = self._polls.get(subject, (-math.inf, None))
        if marks is None or now - begun >= POLL_S:
            self._polls = {name: one for name, one in self._polls.items() if now - one[0] < POLL_S}
            marks = asyncio.ensure_future(poll())
            # Who shared it may have left before it failed.
            marks.add_done_callback(lambda poll: poll.cancelled() or poll.exception())
            self._polls[subject] = now, marks
        return await asyncio.shield(marks)


def changed(before: Marks, now: Marks) -> list[str]:
    """The names of what is new, gone or otherwise than before."""
    new = [name for name, mark in now.items() if before.get(name) != mark]
    return new + [name for name in before if name not in now]
