"""The maintenance thread of a courier; one courier leads and runs every pass, one after the other.

Nothing here goes through the broker: repairs must not depend on what may be broken."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.log_throttle import Seldom
from shared.metrics.counters import UPKEEP
from shared.settings import Settings
from shared.store.memory import Eviction, memory
from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.workers import lead
from worker.maintenance.collect import Collection
from worker.maintenance.passes import Audit, end_late, log_ends, rescue_lost, send_missing, start_due
from worker.maintenance.removal import Removal

# Runs a pass in a thread of its own, so that the other passes do not wait if it hangs.


class Beside:
    """Call it each round: it starts the next step if the last one is over, on a daemon thread."""

    def __init__(self, name: str, run: Callable[[], int]) -> None:
        self._name = name
        self._run = run
        self._count = 0
        self._thread: threading.Thread | None = None

    def __call__(self) -> int:
        """How much the last step did; 0 if it is not over yet."""
        if self._thread is not None and self._thread.is_alive():
            return 0
        count, self._count = self._count, 0
        self._thread = threading.Thread(target=self._step, name=self._name, daemon=True)
        self._thread.start()
        return count

    def _step(self) -> None:
        self._count = self._run()


log = logging.getLogger("worker.maintenance")
HOLD_ROUNDS = 3
"""Rounds without a sign of the leader after which another courier leads."""


class Upkeep:
    """Runs the passes every `rescue_s` while this courier leads."""

    def __init__(self, settings: Settings, store: Store, nudger: Nudger, blobs: Blobs, courier: str) -> None:
        self._settings = settings
        self._store = store
        self._nudger = nudger
        self._courier = courier
        self._audit = Audit(settings, store)
        collection = Collection(store, blobs)
        self._collect = Beside("collected", lambda: self._done("collected", collection.collect))
        self._removal = Removal(settings, store)
        self._eviction = Eviction()
        self._waits = defaultdict[str, Seldom](Seldom)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def run_once(self) -> dict[str, int]:
        """One round of every pass; returns how much each did. If one fails, the others still run."""
        passes: dict[str, Callable[[], int]] = {
            "rescued": lambda: rescue_lost(self._settings, self._store, self._nudger),
            "due": lambda: start_due(self._store, self._nudger),
            "late": lambda: end_late(self._settings, self._store),
            "removed": self._removal.end_waiting,
            "mended": self._audit.walk,
            "collected": self._collect,
            "nudged": lambda: send_missing(self._store, self._nudger),
        }
        done = {name: self._done(name, run) for name, run in passes.items()}
        for name, count in done.items():
            UPKEEP.labels(name).inc(count)
        return done

    def _keep_up(self) -> None:
        pause_s = self._settings.queue.rescue_s
        hold_ms = int(HOLD_ROUNDS * pause_s * 1000)
        while not self._stopping.wait(pause_s):
            if self._done("lead", lambda: lead(self._store, self._courier, hold_ms)):
                done = {name: count for name, count in self.run_once().items() if count}
                if done:
                    log.info("maintenance: %s", done)
                self._done("reports", lambda: log_ends(self._store))
                self._done("memory", self._look_at_memory)

    def _look_at_memory(self) -> int:
        self._eviction.see(self._store.run(memory()))
        return 0

    def _done(self, name: str, run: Callable[[], int]) -> int:
        try:
            return run()
        except Unavailable as error:
            if self._waits[name].due():
                log.warning("maintenance (%s) waits: %s", name, error.message)
        except Exception:
            # The outermost frame of a pass: a bad record must not end all upkeep.
            log.exception("the maintenance pass %s failed", name)
        return 0
