"""The thread that keeps a worker's claims alive, hears of cancelled runs, and gives up when the engine hangs.

It wakes every `renew_s`, or at once when the store says that something of this worker's changed."""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Protocol

import psutil

from shared.errors import Unavailable
from shared.estimate import Reused
from shared.metrics.reporter import Tally
from shared.models import SPARE_THREADS
from shared.settings import Settings
from shared.store.claims import give_back, renew
from shared.store.script import Store
from shared.store.worker_wakeup import WorkerWakeup
from shared.store.workers import State, beat
from worker.celery_app import Exit
from worker.lease import Lease, Leases
from worker.telemetry.attempt_log import abandoned, count_attempt
from worker.telemetry.token_metrics import Tempo
from worker.watchdogs import BrokerWatch, Progress, StallDetector

# What a worker tells about itself with each beat, for operators who look at the fleet.


class Record:
    """`rows` is what the engine computes at once, `fingerprint` the engine's; 0 and empty while it loads."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._process = psutil.Process()
        self._host = socket.gethostname()
        self._since = time.time()
        self._tempo = Tempo()
        self.rows = 0
        self.fingerprint = ""

    def now(self) -> dict[str, str]:
        """`busy` counts the rows of all claims, also while pictures are prepared; `memory` is in bytes."""
        return {
            "host": self._host,
            "pid": str(os.getpid()),
            "since": f"{self._since:.3f}",
            "rows": str(self.rows),
            "fingerprint": self.fingerprint,
            "busy": str(self._leases.rows),
            "memory": str(self._process.memory_info().rss),
            "tokens_per_s": f"{self._tempo.per_s():.1f}",
        }


log = logging.getLogger("worker")


class Watched(Progress, Protocol):
    """What a beat reads of an engine."""

    @property
    def rows_now(self) -> int: ...

    @property
    def broken(self) -> bool: ...

    @property
    def reused(self) -> Reused | None: ...


def slots_now(engine: Watched, slots: int) -> int:
    """Of a worker's slots, those to fill: what is taken beyond them, another worker could begin."""
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
        self._outdated = self._forgotten = False
        self._facts: dict[str, str] = {}
        self._slots = 1
        self._state: State = "loading"
        self._fingerprint = ""
        self._record = Record(leases)
        self._engine: Watched | None = None
        self._stall = StallDetector(settings.queue.stall_s, settings.queue.renew_s)
        self._hearing: BrokerWatch | None = None
        self._tally: Tally | None = None
        self._stopping = threading.Event()
        self._saying = threading.Lock()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self, facts: dict[str, str]) -> None:
        """Say that the worker is loading, now and with each beat."""
        self._say(facts)
        self._thread.start()

    def ready(self, fingerprint: str, facts: dict[str, str], engine: Watched) -> None:
        """The model is loaded; from now on its engine is watched."""
        self._fingerprint, self._state = fingerprint, "ready"
        self._record.rows, self._record.fingerprint = engine.rows_now, fingerprint
        self._facts, self._slots = facts, int(facts.get("slots", 1))
        # Last: beats tell its rows and slots from now on.
        self._engine = engine
        self._say(facts)

    def watch(self, hearing: BrokerWatch, tally: Tally) -> None:
        """From now on nudges are expected to arrive, and what was counted is told before giving up."""
        self._hearing, self._tally = hearing, tally

    def stop(self, facts: dict[str, str]) -> None:
        """Say that the worker is gone."""
        self._stopping.set()
        self._state = "gone"
        if self._thread.ident is not None:
            self._thread.join()
        self._say(facts)

    def drain(self) -> None:
        """Stop counting as a worker that takes new work, while claims are still renewed."""
        self._state, self._hearing = "gone", None

    def _beat_on(self) -> None:
        wakeup = WorkerWakeup(self._settings.redis, self._worker)
        pause_s = self._settings.queue.renew_s
        while not self._stopping.is_set():
            steps = (
                self._renew,
                self._say_counts,
                self._leave_mark,
                self._check_row,
                self._check_engine,
                self._check_hearing,
            )
            for step in steps:
                self._take(step)
            if not wakeup.wait(pause_s):
                self._stopping.wait(pause_s)

    def _take(self, step: Callable[[], None]) -> None:
        """Run one step of a beat; if it fails, the others still run."""
        try:
            step()
        except Exception:
            # The outermost frame of this thread: without it every claim of this worker would run out.
            log.exception("a beat failed")

    def _renew(self) -> None:
        held = self._leases.all()
        claims = [(x.claim.id, x.claim.token) for x in held]
        with suppress(Unavailable):
            gone = self._store.run(renew(self._settings, self._worker, claims))
            for lease in held:
                if lease.claim.token in gone:
                    lease.stop("lost")

    def _say_counts(self) -> None:
        rows = {} if self._engine is None else self._rows(self._engine)
        reused = None if self._engine is None else self._engine.reused
        # Only this worker can tell them to a store that came back empty or with old data.
        facts = self._facts if self._forgotten else rows
        self._say(facts if reused is None else facts | {"reused": json.dumps(asdict(reused))})

    def _rows(self, engine: Watched) -> dict[str, str]:
        """The rows that the engine computes now.

        Told with every beat: a worker that leaves short of memory would leave its few to the model for good.
        """
        self._record.rows = engine.rows_now
        rows = {"rows": str(engine.rows_now), "slots": str(slots_now(engine, self._slots))}
        self._facts = self._facts | rows
        return rows

    def _say(self, facts: dict[str, str]) -> None:
        # One at a time: a beat under way would overwrite the state said now with an earlier one.
        with self._saying, suppress(Unavailable):
            said = beat(
                self._settings,
                worker=self._worker,
                lane=self._lane,
                state=self._state,
                fingerprint=self._fingerprint,
                row=self._row,
                facts=facts,
                record=self._record.now(),
            )
            word = self._store.run(said)
            self._outdated, self._forgotten = word == "outdated", word == "forgotten"

    def _leave_mark(self) -> None:
        """For a watcher outside: what holds the interpreter's lock for ever stops this thread as well."""
        if self._settings.heartbeat_file is not None:
            # The file's time says that the worker lives, its content whether it takes work.
            self._settings.heartbeat_file.write_text(self._state, encoding="ascii")

    def _check_hearing(self) -> None:
        hearing = self._hearing
        if hearing is not None and hearing.deaf():
            log.critical("nudges are listed and none arrives; this worker starts anew")
            self._leave(Exit.DEAF)

    def _check_row(self) -> None:
        if self._outdated:
            self._leave_empty("its model was added anew with another row", Exit.OUTDATED)

    def _check_engine(self) -> None:
        if self._engine is None:
            return
        if self._engine.broken:
            self._leave_empty("the device is broken", Exit.DEVICE_BROKEN)
        idle = self._stall.hung_s(self._engine)
        if idle is not None:
            log.critical("the engine made no progress for %.0f s; this worker gives up", idle)
            self._leave_hung()

    def _leave_hung(self) -> None:
        """A hung device cannot be stopped from inside: its runs go on elsewhere, a supervisor starts anew."""
        self._leave(Exit.STALLED, self._leases.all())

    def _leave_empty(self, why: str, code: Exit) -> None:
        """Exit for a new process once this one holds no run: its runs end or are given back before."""
        self.drain()
        if not self._leases.all():
            log.critical("%s; this worker gives up", why)
            self._leave(code)

    def _leave(self, code: Exit, hung: Sequence[Lease] = ()) -> None:
        """Exit, having said so: this worker would count as ready for `worker_ttl_s` more."""
        self._state = "gone"
        try:
            with suppress(Unavailable):
                for lease in hung:
                    self._abandon(lease, "engine_stalled", died=True)
                self._say({})
                if self._tally is not None:
                    self._tally.stop()
                # Its threads claim until it ends.
                for lease in self._leases.all():
                    if lease not in hung:
                        self._abandon(lease, "worker_draining", died=False)
        finally:
            os._exit(code)

    def _abandon(self, lease: Lease, reason: str, *, died: bool) -> None:
        """Do for an attempt what its own thread, which hangs or ends with the process, will never do."""
        self._store.run(give_back(self._settings, lease.claim, reason=reason, error=None, died=died))
        outcome = "lost" if lease.reason == "lost" else reason
        abandoned(lease.claim, outcome, time.monotonic() - lease.since)
        count_attempt(lease, outcome, None)
