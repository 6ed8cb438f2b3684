"""A lane of a courier: its work is claimed, held under a lease, and attempted in threads."""

import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared import ids
from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.settings import Settings
from shared.store.claims import Claim, claim, take
from shared.store.nudges import Nudger
from shared.store.script import ScriptCall, Store
from worker.claim_loop import POLL_S, AttemptThreads, IdlePoll
from worker.lease import Lease, Leases, refused_end, retry_until_stored

log = logging.getLogger("worker")


@dataclass(frozen=True)
class CourierLane(ABC):
    """What is between a claim and its end is for each lane to say, in `_attempt`.

    How much of one caller is claimed at a time, the store decides (`functions/fair_queue.lua`).
    """

    settings: Settings
    store: Store
    nudger: Nudger
    blobs: Blobs
    leases: Leases
    worker: str
    draining: threading.Event = field(default_factory=threading.Event)
    lane: ClassVar[str]

    def poll(self, threads: int, pause_s: float = POLL_S) -> IdlePoll:
        """Looks for work, and has so many threads of its own for what it finds."""
        return IdlePoll(self.take, AttemptThreads(self.work_on), threads, pause_s)

    def work(self) -> bool:
        """Claim work and attempt it; whether there was some."""
        claimed = self.take()
        if claimed is not None:
            self.attempt(claimed)
        return claimed is not None

    def work_on(self, claimed: Claim | None = None) -> None:
        """Attempt a claim, and whatever else waits: a caller at its limit has used up its nudges."""
        if claimed is not None:
            self.attempt(claimed)
        while self.work():
            pass

    def take(self) -> Claim | None:
        """Claim the next work of the lane; none while the courier ends."""
        if self.draining.is_set():
            return None
        token = ids.token()
        call = claim(self.settings, lane=self.lane, worker=self.worker, token=token, fingerprint="")
        try:
            return take(self.store.run, call)
        except Unavailable as error:
            # Waiting work is looked for again.
            log.warning("the lane %s waits: %s", self.lane, error.message)
            return None

    def attempt(self, claimed: Claim) -> None:
        with self.leases.hold(claimed) as lease:
            try:
                self._attempt(lease)
            except Unavailable as error:
                log.warning("%s is attempted again: %s", claimed.id, error.message)
            except Exception:
                # The outermost frame of an attempt: the claim is renewed no more, and goes back in line.
                log.exception("%s: an attempt was lost", claimed.id)

    @abstractmethod
    def _attempt(self, lease: Lease) -> None: ...

    def _write(self, lease: Lease, call: ScriptCall[Any]) -> Any:
        """Write the end of an attempt; None where the claim is lost meanwhile."""
        return retry_until_stored(self.store.run, call, lease, refused_end(self.settings, lease.claim))
