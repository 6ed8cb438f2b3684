"""Watches the engine and the broker for the heartbeat: is one of them hung, though this process lives?"""

import time
from collections.abc import Callable
from typing import Protocol

from shared.errors import Unavailable
from shared.store.nudges import Nudger
from worker.lease import Leases

STEPS = 10
"""An engine may be idle this many times its longest step so far: a slow engine is not a hung one."""
LATE = 2
"""With this many times `renew_s` between two looks, this process was paused, or waited for the store."""
NUDGE_LIMIT_S = 15.0
"""Longer than any pause of Celery's consumer between two tries to reach the broker."""
LATE_LOOK_S = 15.0
"""Longer than the heartbeat takes from one look to the next, unless it was cut off."""


class Progress(Protocol):
    """An engine's own account of its progress; see `worker.engines.base.Engine`."""

    def idle_s(self) -> float: ...

    @property
    def longest_step_s(self) -> float: ...


class StallDetector:
    """Judges an engine's progress for the heartbeat, with one look per beat.

    In a paused process (SIGSTOP, a frozen machine) the engine's step looks long. Such a look and the next one
    do not count: the engine is not blamed, and that step does not lengthen the patience.
    """

    def __init__(self, stall_s: float, renew_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_s = stall_s
        self._late_s = LATE * renew_s
        self._clock = clock
        self._looked_at = clock()
        self._was_late = False
        self._longest = self._untrusted = 0.0

    def stalled_s(self, engine: Progress) -> float | None:
        """How long the engine has made no progress, if that is too long; else None."""
        steady, longest = self._steady(), engine.longest_step_s
        if not steady:
            self._untrusted = longest
            return None
        if longest > self._untrusted:
            self._longest = longest
        idle = engine.idle_s()
        return idle if idle > max(self._stall_s, STEPS * self._longest) else None

    def _steady(self) -> bool:
        now = self._clock()
        late = now - self._looked_at > self._late_s
        steady = not (late or self._was_late)
        self._looked_at, self._was_late = now, late
        return steady


class BrokerWatch:
    """Whether nudges still reach this process, from those that arrived and those still listed.

    Celery's consumer may end silently, at a full broker or an error of its transport. The heartbeat would
    continue, and a worker that never claims again would look healthy forever.
    """

    def __init__(self, nudger: Nudger, leases: Leases, *, lane: str, slots: int) -> None:
        self._nudger = nudger
        self._leases = leases
        self._lane = lane
        self._slots = slots
        self._last_well = self._looked_at = time.monotonic()

    def nudged(self) -> None:
        """Note that a nudge arrived."""
        self._last_well = time.monotonic()

    def is_starved(self) -> bool:
        """Whether nudges have waited for a free thread too long, and no claim is left.

        After a late look, because this process or the record store stood still, the wait begins anew.
        """
        before, self._looked_at = self._looked_at, time.monotonic()
        if self._looked_at - before > LATE_LOOK_S or not self._nudges_wait():
            self._last_well = self._looked_at
            return False
        return self._looked_at - self._last_well > NUDGE_LIMIT_S and not self._leases.all(self._lane)

    def _nudges_wait(self) -> bool:
        """Whether nudges are listed that a thread here could take."""
        if sum(lease.claim.rows for lease in self._leases.all(self._lane)) >= self._slots:
            return False
        try:
            return self._nudger.listed(self._lane) > 0
        except Unavailable:
            return False
