"""Tells a hung engine from a slow one, and both from a process that stood still as a whole."""

import time
from collections.abc import Callable
from typing import Protocol

PATIENCE = 10
"""An engine may be idle this many times its longest step so far: a slow engine is not a hung one."""
LATE = 2
"""With this many times `renew_s` between two looks, this process stood still, or waited for the store."""


class Progress(Protocol):
    """An engine's own account of its progress; see `worker.engines.base.Engine`."""

    def idle_s(self) -> float: ...

    @property
    def longest_step_s(self) -> float: ...


class Stall:
    """Judges an engine's progress for the heartbeat, with one look per beat.

    In a paused process (SIGSTOP, a frozen machine) the engine's step looks long. Such a look and the next one
    do not count: the engine is not blamed, and that step does not lengthen the patience.
    """

    def __init__(self, stall_s: float, renew_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_s = stall_s
        self._late_s = LATE * renew_s
        self._clock = clock
        self._looked = clock()
        self._was_late = False
        self._longest = self._untrusted = 0.0

    def hung_s(self, engine: Progress) -> float | None:
        """How long the engine has made no progress, if that is too long; else None."""
        steady, longest = self._steady(), engine.longest_step_s
        if not steady:
            self._untrusted = longest
            return None
        if longest > self._untrusted:
            self._longest = longest
        idle = engine.idle_s()
        return idle if idle > max(self._stall_s, PATIENCE * self._longest) else None

    def _steady(self) -> bool:
        now = self._clock()
        late = now - self._looked > self._late_s
        steady = not (late or self._was_late)
        self._looked, self._was_late = now, late
        return steady
