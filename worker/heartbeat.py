"""The thread that renews a worker's claims, learns of cancelled runs, and exits when the engine hangs.

It wakes every `renew_s`, or at once when the store says that something of this worker's changed. That a
worker died is noticed by `rescue` (`shared/store/functions/upkeep.lua`), which a courier's maintenance calls.
"""

import faulthandler
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil

from shared.errors import Unavailable
from shared.models import SPARE_THREADS
from shared.settings import Settings
from shared.store.claims import give_back, renew
from shared.store.script import Store
from shared.store.wakeups import WorkerWakeup
from shared.store.workers import State, beat
from worker.celery_app import Exit
from worker.lease import Lease, Leases
from worker.telemetry.attempt_log import count_attempt, log_requeued
from worker.telemetry.token_metrics import Throughput
from worker.watchdogs import BrokerWatch, Progress, StallDetector

log = logging.getLogger("worker")
HANG_GRACE_S = 60.0
"""Seconds beyond its limit after which a load that lets no beat come is ended."""


class EngineStatus(Progress, Protocol):
    """What a beat reads of an engine."""

    @property
    def rows_now(self) -> int: ...

    @property
    def broken(self) -> bool: ...


def slots_now(engine: EngineStatus, slots: int) -> int:
    """Of a worker's slots, those to fill: a claim beyond them, another worker could begin."""
    return min(slots, engine.rows_now + SPARE_THREADS)


class Heartbeat:
    """Beats for one worker from `start` until `stop`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        leases: Leases,
        *,
        worker: str,
        lane: str,
        row: str | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._leases = leases
        self._worker = worker
        self._lane = lane
        self._row = row
        self._is_outdated = self._is_unknown = False
        self._facts: dict[str, str] = {}
        self._slots = 1
        self._load_end = math.inf
        self._state: State = "loading"
        self._fingerprint = ""
        self._status = WorkerStatus(leases)
        self._engine: EngineStatus | None = None
        self._stall = StallDetector(settings.queue.stall_s, settings.queue.renew_s)
        self._broker_watch: BrokerWatch | None = None
        self._stopping = threading.Event()
        self._reporting = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self, facts: dict[str, str], *, loads: bool = False) -> None:
        """Report that the worker is loading, now and with each beat.

        With `loads` it has `worker.load_limit_s` to be ready. A load that hangs with the interpreter's lock
        lets no beat come: the process then ends by itself a little later, and its supervisor reports it.
        """
        if loads:
            limit_s = self._settings.worker.load_limit_s
            self._load_end = time.monotonic() + limit_s
            faulthandler.dump_traceback_later(limit_s + HANG_GRACE_S, exit=True)
        file = self._settings.heartbeat_file
        if file is not None:
            threading.Thread(
                target=self._touch_file, args=(file,), name="heartbeat file", daemon=True
            ).start()
        self.report(facts)
        self._thread.start()

    def ready(self, fingerprint: str, facts: dict[str, str], engine: EngineStatus) -> None:
        """The model is loaded; from now on its engine is watched."""
        faulthandler.cancel_dump_traceback_later()
        self._fingerprint, self._state = fingerprint, "ready"
        self._status.rows, self._status.fingerprint = engine.rows_now, fingerprint
        self._facts, self._slots = dict(facts), int(facts.get("slots", 1))
        self._status.slots = self._slots
        # Last: beats report its rows and slots from now on.
        self._engine = engine
        self.report(facts)

    def add(self, facts: dict[str, str]) -> None:
        """Report what was learned of the lane since the worker is ready."""
        self._facts.update(facts)
        self.report(facts)

    def watch(self, broker_watch: BrokerWatch) -> None:
        """From now on nudges are expected to arrive."""
        self._broker_watch = broker_watch

    def stop(self, facts: dict[str, str]) -> None:
        """Report that the worker is gone; its thread, which may wait for the store, says nothing else."""
        self._stopping.set()
        self._state = "gone"
        self.report(facts)

    def drain(self) -> None:
        """Stop counting as a worker that takes new work, while claims are still renewed."""
        self._state, self._broker_watch = "gone", None

    def _loop(self) -> None:
        wakeup = WorkerWakeup(self._settings.redis, self._worker)
        pause_s = self._settings.queue.renew_s
        while not self._stopping.is_set():
            steps = (
                self._renew,
                self._report_progress,
                self._check_row,
                self._check_load,
                self._check_engine,
                self._check_broker,
            )
            for step in steps:
                self._run(step)
            if not wakeup.wait(pause_s):
                self._stopping.wait(pause_s)

    def _run(self, step: Callable[[], object]) -> None:
        """Run one step of a beat; if it fails, the others still run."""
        try:
            step()
        except Exception:
            # The outermost frame of this thread: without it every claim of this worker would run out.
            log.exception("a beat failed")

    def _renew(self) -> None:
        leases = self._leases.all()
        claims = [(x.claim.id, x.claim.token) for x in leases]
        with suppress(Unavailable):
            lost = self._store.run(renew(self._settings, self._worker, claims))
            for lease in leases:
                if lease.claim.token in lost:
                    lease.stop("lost")

    def _report_progress(self) -> None:
        rows = {} if self._engine is None else self._rows(self._engine)
        # Only this worker can restore them in a store that came back empty or with old data.
        self.report(self._facts if self._is_unknown else rows)

    def _rows(self, engine: EngineStatus) -> dict[str, str]:
        """The rows that the engine computes now.

        Reported with every beat: a worker that exits short of memory would leave its few to the model.
        """
        self._status.rows, self._status.slots = engine.rows_now, slots_now(engine, self._slots)
        rows = {"rows": str(self._status.rows), "slots": str(self._status.slots)}
        self._facts.update(rows)
        return rows

    def report(self, facts: dict[str, str]) -> None:
        """Beat once, with facts of the lane."""
        # One at a time: a beat in flight would overwrite this state with an earlier one.
        with self._reporting, suppress(Unavailable):
            call = beat(
                self._settings,
                worker=self._worker,
                lane=self._lane,
                state=self._state,
                fingerprint=self._fingerprint,
                row=self._row,
                facts=facts,
                record=self._status.fields(),
            )
            status = self._store.run(call)
            # What drains does not take work again, whatever row comes back.
            self._is_outdated = self._is_outdated or status == "outdated"
            self._is_unknown = status == "forgotten"

    def _touch_file(self, file: Path) -> None:
        """For a watcher outside, from a thread of its own: a store that hangs would keep beats from it.

        What holds the interpreter's lock for ever stops this thread as well. The file's time says that the
        worker lives, its content whether it takes work.
        """
        while not self._stopping.is_set():
            self._run(partial(file.write_text, self._state, encoding="ascii"))
            self._stopping.wait(self._settings.queue.renew_s)

    def _check_broker(self) -> None:
        watch = self._broker_watch
        if watch is not None and watch.is_starved():
            log.critical("nudges are listed and none arrives; this worker starts anew")
            self._exit(Exit.STARVED)

    def _check_row(self) -> None:
        if self._is_outdated:
            self._exit_when_idle("its model was added anew with another row", Exit.OUTDATED)

    def _check_load(self) -> None:
        if self._state == "loading" and time.monotonic() > self._load_end:
            limit_s = self._settings.worker.load_limit_s
            reason = f"it was not loaded within {limit_s:g} s (SIGHTLINE_WORKER__LOAD_LIMIT_S)"
            log.critical("the load hangs: %s", reason)
            faulthandler.dump_traceback()
            self._exit(Exit.MODEL_FAILED, facts={"failed": reason})

    def _check_engine(self) -> None:
        if self._engine is None:
            return
        if self._engine.broken:
            self._exit_when_idle("the device is broken", Exit.DEVICE_BROKEN)
        idle = self._stall.stalled_s(self._engine)
        if idle is not None:
            log.critical("the engine made no progress for %.0f s; this worker gives up", idle)
            # A hung device cannot be stopped from inside: its runs continue elsewhere.
            self._exit(Exit.STALLED, self._leases.all())

    def _exit_when_idle(self, reason: str, code: Exit) -> None:
        """Exit for a new process once this one holds no run: its runs end or are given back before."""
        self.drain()
        if not self._leases.all():
            log.critical("%s; this worker gives up", reason)
            self._exit(code)

    def _exit(
        self, code: Exit, stalled: Sequence[Lease] = (), facts: Mapping[str, str] | None = None
    ) -> None:
        """Report it and exit: this worker would count as ready for `worker_ttl_s` more."""
        self._state = "gone"
        try:
            with suppress(Unavailable):
                for lease in stalled:
                    self._requeue(lease, "engine_stalled", died=True)
                self.report(dict(facts or {}))
                # Its threads claim until it ends.
                for lease in self._leases.all():
                    if lease not in stalled:
                        self._requeue(lease, "worker_draining", died=False)
        finally:
            os._exit(code)

    def _requeue(self, lease: Lease, reason: str, *, died: bool) -> None:
        """Do for an attempt what its own thread, which hangs or ends with the process, never will."""
        self._store.run(give_back(self._settings, lease.claim, reason=reason, error=None, died=died))
        outcome = "lost" if lease.reason == "lost" else reason
        log_requeued(lease.claim, outcome, time.monotonic() - lease.since)
        count_attempt(lease, outcome, None)


class WorkerStatus:
    """What operators who look at the fleet read of a worker.

    `rows` is what the engine computes at once, `fingerprint` the engine's; 0 and empty while it loads.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._process = psutil.Process()
        self._host = socket.gethostname()
        self._since = time.time()
        self._throughput = Throughput()
        self.rows = self.slots = 0
        self.fingerprint = ""

    def fields(self) -> dict[str, str]:
        """`busy` counts the rows of all claims, also while pictures are prepared; `memory` is in bytes."""
        return {
            "host": self._host,
            "pid": str(os.getpid()),
            "since": f"{self._since:.3f}",
            "rows": str(self.rows),
            "slots": str(self.slots),
            "fingerprint": self.fingerprint,
            "busy": str(self._leases.rows),
            "memory": str(self._process.memory_info().rss),
            "tokens_per_s": f"{self._throughput.per_s():.1f}",
        }
