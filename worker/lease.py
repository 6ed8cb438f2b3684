"""The claims a worker process holds.

A lease does not fence: a worker that was paused may not know that its lease has run out. The store compares
the token in every write; what a process knows only stops useless work early.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from shared.errors import Unavailable
from shared.result import JobError
from shared.settings import Settings
from shared.store.acknowledgement import Unacknowledged
from shared.store.claims import Claim, give_back
from shared.store.script import ScriptCall

log = logging.getLogger("worker")
T = TypeVar("T")
RETRY_S = 1.0
# Pause of a process that cannot read blobs: else it would claim at once all that others could compute.
UNREADABLE_S = 0.25
# Tries of a draining process, which has only a few seconds left.
DRAINING_TRIES = 3

Reason = Literal["", "lost", "draining"]


@dataclass(eq=False)
class Lease:
    """One claim being worked on. `cancel` stops its row; `reason` says why it was set.

    `refused` is whether the store refused its end, and a failed attempt was written instead.
    """

    claim: Claim
    cancel: threading.Event = field(default_factory=threading.Event)
    reason: Reason = ""
    refused: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since the claimed work joined its line."""
        return self.claim.waited_ms / 1000 + time.monotonic() - self.since

    def stop(self, reason: Reason) -> None:
        """Stop the work. A lost claim stays lost whatever comes later."""
        if self.reason != "lost":
            self.reason = reason
        self.cancel.set()


class Leases:
    """All leases of this process, shared by task threads and the heartbeat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self.drained = threading.Event()
        """Set once this process stops all work."""

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[Lease]:
        lease = Lease(claim)
        with self._lock:
            self._leases[claim.token] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._leases[claim.token]

    def all(self, lane: str | None = None) -> list[Lease]:
        """Of one lane, or of all."""
        with self._lock:
            leases = list(self._leases.values())
        return [lease for lease in leases if lane in (None, lease.claim.lane)]

    def drain(self) -> None:
        """Stop all work, because this process ends."""
        self.drained.set()
        for lease in self.all():
            lease.stop("draining")

    def drain_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.drain)
        timer.daemon = True
        timer.start()

    @property
    def rows(self) -> int:
        """Rows of the engine that the held claims take together."""
        return sum(lease.claim.rows for lease in self.all())


REFUSED = JobError(code="internal_error", message="The job's end could not be stored.", retryable=True)


def refused_end(settings: Settings, claim: Claim) -> ScriptCall[str | None]:
    """A failed attempt, instead of an end that the store refuses."""
    return give_back(settings, claim, reason="attempt_failed", error=REFUSED)


def retry_until_stored(
    run: Callable[[ScriptCall[Any]], T],
    call: ScriptCall[Any],
    lease: Lease,
    instead: ScriptCall[Any] | None = None,
) -> T | None:
    """Run a call until the store accepts it; None if the claim is lost in the meantime.

    A draining process tries only a few times more: without the store it would never end, and another worker
    gets the run once its lease has expired. Where the store refuses the call itself, `instead` is run, which
    spends one of the run's failures: else the same would be computed and refused again without end.
    An end that only this server has, which then knows no such claim any more, is written to the next one too.
    """
    tries, unacknowledged = DRAINING_TRIES, False
    while (unacknowledged or lease.reason != "lost") and tries:
        try:
            return run(call)
        except Unavailable as error:
            unacknowledged |= isinstance(error, Unacknowledged)
            log.warning("the end of %s is not written yet: %s", lease.claim.id, error.message)
            tries -= lease.reason == "draining"
            time.sleep(RETRY_S)
        except Exception:
            # The outermost frame of an attempt's end: what is refused now is refused each time.
            if instead is None:
                raise
            log.exception("the record store refused the end of %s", lease.claim.id)
            call, instead, lease.refused = instead, None, True
    return None
