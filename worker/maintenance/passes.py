"""The pass that returns the work of lost workers to its line."""

import logging
import time
from collections.abc import Callable, Sequence

from shared.settings import Settings
from shared.store.audit import audit, scan
from shared.store.claims import rescue
from shared.store.nudges import Nudger
from shared.store.reports import AT_ONCE as REPORTS_AT_ONCE
from shared.store.reports import Report, ended
from shared.store.script import Store
from shared.store.upkeep import AT_ONCE, due, expire
from shared.store.workers import backlog
from shared.telemetry.logs import fields


def rescue_lost(settings: Settings, store: Store, nudger: Nudger) -> int:
    """Rescue what has an expired lease, and nudge for it.

    After an outage of the record store every lease looks expired, though its worker lives: the script gives
    workers time to renew first.
    """
    rescued = store.run(rescue(settings))
    for _, lane in rescued:
        if lane:
            nudger.send(lane)
    return len(rescued)


# The passes that watch the clock: work that is due joins its line, work that is too late ends.

LONGEST_S = 0.25
"""Seconds that a round may take if more is due than one call moves."""


def start_due(store: Store, nudger: Nudger) -> int:
    def move() -> int:
        lanes = store.run(due())
        for lane in lanes:
            nudger.send(lane)
        return len(lanes)

    return _until_done(move)


def end_late(settings: Settings, store: Store) -> int:
    return _until_done(lambda: len(store.run(expire(settings))))


def _until_done(move: Callable[[], int]) -> int:
    end, moved = time.monotonic() + LONGEST_S, move()
    total = moved
    while moved == AT_ONCE and time.monotonic() < end:
        moved = move()
        total += moved
    return total


# The pass that sends nudges again where work waits and too few are listed.
#
# A spare nudge costs a worker one look at an empty line; a missing one would leave work waiting for ever.

FEW = 64
"""Nudges that a line has listed at most: as many as workers may take before the next pass."""


def send_missing(store: Store, nudger: Nudger) -> int:
    sent = 0
    for lane, waiting in backlog(store).items():
        listed = nudger.listed(lane) if waiting else 0
        if listed < min(waiting, FEW):
            count = min(waiting, FEW) - listed
            nudger.send(lane, count)
            sent += count
    return sent


# The pass that trusts nothing: it walks over every record and mends what is inconsistent.
#
# Whatever it mends is a fault of ours, or of a store that was cut off while writing; it is counted and
# logged. Keys that it does not know are left alone: a newer version, or another program, wrote them.

log = logging.getLogger("worker.maintenance")
KEYS = 200
"""Keys looked at in one round; a hundred thousand take some minutes."""


class Audit:
    """Walks over all keys again and again, `KEYS` in a round."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._cursor = 0
        self._told: set[str] = set()

    def walk(self) -> int:
        """Look at the next keys; returns how many records were mended."""
        self._cursor, names = scan(self._store, self._cursor, KEYS)
        if not names:
            return 0
        mended, strange = self._store.run(audit(self._settings, names))
        if mended:
            log.error("the audit mended %s", mended)
        self._tell(strange)
        return sum(mended.values())

    def _tell(self, strange: Sequence[str]) -> None:
        """Log unknown keys once per process, because they stay."""
        for beginning in strange:
            if beginning not in self._told:
                self._told.add(beginning)
                log.warning("the audit knows no keys that begin with %s, and leaves them", beginning)


# The pass that writes a line into the log for each job that ended, whoever ended it.

MOST_CALLS = 20


def log_ends(store: Store) -> int:
    """Does not touch the store if such lines would not be logged."""
    if not log.isEnabledFor(logging.INFO):
        return 0
    total = 0
    for _ in range(MOST_CALLS):
        reports = store.run(ended())
        for report in reports:
            _log(report)
        total += len(reports)
        if len(reports) < REPORTS_AT_ONCE:
            break
    return total


def _log(report: Report) -> None:
    usage = report.usage
    # A run that serves several jobs may have begun before this one was created.
    began_ms = report.ended_ms if report.started_ms is None else max(report.started_ms, report.created_ms)
    # Neither its inputs nor its own schedule_at keep a job in line.
    placed_ms = began_ms if report.placed_ms is None else max(report.placed_ms, report.created_ms)
    log.info(
        "job ended",
        extra=fields(
            request_id=report.request_id,
            job=report.job,
            run=report.run,
            attempt=report.attempt,
            model=report.model,
            caller=report.caller,
            priority=report.priority,
            outcome=report.status,
            code=report.code,
            cache=report.cache,
            wait_s=max(began_ms - placed_ms, 0) / 1000,
            run_s=max(report.ended_ms - began_ms, 0) / 1000,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
        ),
    )
