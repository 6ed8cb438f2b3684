"""What changes while somebody watches: one look a second for all watchers of the same thing in a process."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

LOOK_S = 1.0
LIVE_S = 900
"""A stream lasts no longer: a key that is revoked meanwhile opens no other."""
Marks = Mapping[str, Any]
"""The state of each thing by its name."""


class SharedPolls:
    """One per process. A look that failed fails for all who share it."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[float, asyncio.Future[Marks]]] = {}

    async def marks(self, subject: str, look: Callable[[], Awaitable[Marks]]) -> Marks:
        """What `look` returns, or returned within the last second for the same subject. Raises as it does."""
        now = time.monotonic()
        begun, marks = self._looks.get(subject, (-math.inf, None))
        if marks is None or now - begun >= LOOK_S:
            self._looks = {name: one for name, one in self._looks.items() if now - one[0] < LOOK_S}
            marks = asyncio.ensure_future(look())
            # Who shared it may have left before it failed.
            marks.add_done_callback(lambda look: look.cancelled() or look.exception())
            self._looks[subject] = now, marks
        return await asyncio.shield(marks)


def changed(before: Marks, now: Marks) -> list[str]:
    """The names of what is new, gone or otherwise than before."""
    new = [name for name, mark in now.items() if before.get(name) != mark]
    return new + [name for name in before if name not in now]
