"""Notices that Celery no longer hands out nudges although the process lives.

Celery's consumer may end silently, at a full broker or an error of its transport. The heartbeat would go on,
and a worker that never takes work again would look healthy for ever.
"""

import time

from shared.errors import Unavailable
from shared.store.nudges import Nudger
from worker.lease import Leases

PATIENCE_S = 15.0
"""Longer than any pause of Celery's consumer between two tries to reach the broker."""


class Hearing:
    """Tells whether nudges still reach this process, from those that arrived and those still listed."""

    def __init__(self, nudger: Nudger, leases: Leases, *, lane: str, slots: int) -> None:
        self._nudger = nudger
        self._leases = leases
        self._lane = lane
        self._slots = slots
        self._well = time.monotonic()

    def nudged(self) -> None:
        """A nudge arrived."""
        self._well = time.monotonic()

    def deaf(self) -> bool:
        """Whether nudges have waited for a free thread too long, and no claim is left."""
        if not self._ignored():
            self._well = time.monotonic()
            return False
        return time.monotonic() - self._well > PATIENCE_S and not self._leases.all()

    def _ignored(self) -> bool:
        """Whether nudges are listed that a thread here could take."""
        if self._leases.rows >= self._slots:
            return False
        try:
            return self._nudger.listed(self._lane) > 0
        except Unavailable:
            return False
