"""The maintenance thread of a courier; one courier leads and runs every pass, one after the other.

Nothing here goes through the broker: repairs must not depend on what may be broken.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.log_throttle import LogThrottle
from shared.metrics.courier_counters import UPKEEP
from shared.settings import Settings
from shared.store.headroom import EvictionWarning, memory
from shared.store.maintenance import lead
from shared.store.nudges import Nudger
from shared.store.script import Store
from worker.maintenance.passes import Pass, SeriesSampler, passes

log = logging.getLogger("worker.maintenance")
HOLD_ROUNDS = 3
"""Rounds without a sign of the leader after which another courier leads."""


class MaintenanceLeader:
    """Runs the passes every `rescue_s` while this courier leads."""

    def __init__(self, settings: Settings, store: Store, nudger: Nudger, blobs: Blobs, courier: str) -> None:
        self._store = store
        self._courier = courier
        self._pause_s = settings.queue.rescue_s
        self._passes = passes(settings, store, nudger, blobs)
        # An object store may hang.
        collect = partial(self._guarded, "collected", self._passes["collected"])
        self._passes["collected"] = BackgroundPass("collected", collect)
        self._eviction_warning = EvictionWarning()
        self._sampler = SeriesSampler(settings, store)
        self._throttles = defaultdict[str, LogThrottle](LogThrottle)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def run_once(self) -> dict[str, int]:
        """One round of every pass; returns how much each did. If one fails, the others still run."""
        counts = {name: self._guarded(name, run) for name, run in self._passes.items()}
        for name, count in counts.items():
            UPKEEP.labels(name).inc(count)
        return counts

    def _loop(self) -> None:
        hold_ms = int(HOLD_ROUNDS * self._pause_s * 1000)
        while not self._stopping.wait(self._pause_s):
            if self._guarded("lead", lambda: self._store.run(lead(self._courier, hold_ms))):
                counts = {name: count for name, count in self.run_once().items() if count}
                if counts:
                    log.info("maintenance: %s", counts)
                self._guarded("memory", lambda: self._eviction_warning.check(self._store.run(memory())))
                self._guarded("series", self._sampler.sample)

    def _guarded(self, name: str, run: Callable[[], int | None]) -> int:
        try:
            return run() or 0
        except Unavailable as error:
            if self._throttles[name].due():
                log.warning("maintenance (%s) waits: %s", name, error.message)
        except Exception:
            # The outermost frame of a pass: a bad record must not end all maintenance.
            log.exception("the maintenance pass %s failed", name)
        return 0


class BackgroundPass:
    """Runs a pass in a thread of its own, so that the others do not wait if it hangs.

    Call it each round: it starts the next run if the last one has ended, on a daemon thread.
    """

    def __init__(self, name: str, run: Pass) -> None:
        self._name = name
        self._run = run
        self._count = 0
        self._thread: threading.Thread | None = None

    def __call__(self) -> int:
        """How much the last run did; 0 if it has not ended yet."""
        if self._thread is not None and self._thread.is_alive():
            return 0
        count, self._count = self._count, 0
        self._thread = threading.Thread(target=self._run_and_count, name=self._name, daemon=True)
        self._thread.start()
        return count

    def _run_and_count(self) -> None:
        self._count = self._run()
