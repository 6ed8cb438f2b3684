"""The passes that repair the record store, in the order in which they run; each returns how much it did."""

import logging
import time
from collections.abc import Callable, Iterator

from shared.blobs import Blobs
from shared.metrics.courier_counters import UPKEEP
from shared.metrics.series import STEP_S
from shared.settings import Settings
from shared.store.claims import rescue
from shared.store.files import HOLD_S, delete_blob, identity, mark_deleted
from shared.store.headroom import fold
from shared.store.maintenance import due, expire, finish
from shared.store.metrics import sample
from shared.store.models import open_jobs, registrations, sweep
from shared.store.nudges import Nudger
from shared.store.script import Store

Pass = Callable[[], int]
LONGEST_S = 0.25
"""Seconds that a pass may take if more is due than one call moves."""

log = logging.getLogger("worker.maintenance")
PAUSE_S = 600.0
"""Seconds between two walks."""
NAMES_EACH = 200


class ModelRemoval:
    """Walks once over all jobs after each removal; if the courier exits, the next one starts again."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._walks: dict[tuple[str, str], int] = {}

    def end_waiting(self) -> int:
        """End waiting work for one round; returns how much ended."""
        removals = self._store.run(registrations()).removing
        self._walks = {removal: self._walks.get(removal, 0) for removal in removals.items()}
        until, total = time.monotonic() + LONGEST_S, 0
        for removal in sorted(removals.items()):
            while removal in self._walks and time.monotonic() < until:
                total += self._step(*removal)
        return total

    def _step(self, lane: str, generation: str) -> int:
        cursor, (*pieces, last) = open_jobs(self._store, self._walks[lane, generation])
        self._walks[lane, generation] = cursor
        if not cursor:
            del self._walks[lane, generation]
        done = None if cursor else generation
        ended = sum(self._store.run(sweep(self._settings, lane, jobs)) for jobs in pieces)
        return ended + self._store.run(sweep(self._settings, lane, last, done))


def passes(settings: Settings, store: Store, nudger: Nudger, blobs: Blobs) -> dict[str, Pass]:
    """All passes, by the names that the log and the metrics have for what they did."""
    return {
        "rescued": lambda: rescue_lost(settings, store, nudger),
        "due": lambda: start_due(store, nudger),
        "late": lambda: end_late(settings, store),
        "finished": lambda: _count_pieces(lambda: store.run(finish(settings))),
        "folded": lambda: _count_pieces(lambda: store.run(fold())),
        "removed": ModelRemoval(settings, store).end_waiting,
        "collected": BlobCollector(store, blobs).collect,
    }


def rescue_lost(settings: Settings, store: Store, nudger: Nudger) -> int:
    """Return the work of lost workers, whose leases expired, to its queue, and nudge for it.

    After an outage of the record store every lease looks expired, though its worker is alive: the script
    gives workers time to renew first.
    """
    count, end = 0, time.monotonic() + LONGEST_S
    while rescued := store.run(rescue(settings)):
        count += len(rescued)
        for _, lane in rescued:
            if lane:
                nudger.send(lane)
        if time.monotonic() > end:
            break
    return count


def start_due(store: Store, nudger: Nudger) -> int:
    moved = 0

    def move() -> int:
        nonlocal moved
        lanes = store.run(due())
        for lane in lanes:
            nudger.send(lane)
        moved += len(lanes)
        return len(lanes)

    _count_pieces(move)
    return moved


def end_late(settings: Settings, store: Store) -> int:
    ended = list[str]()

    def end() -> int:
        jobs, passed = store.run(expire(settings))
        ended.extend(jobs)
        return passed

    _count_pieces(end)
    return len(ended)


def _count_pieces(move: Callable[[], object]) -> int:
    pieces, end = 0, time.monotonic() + LONGEST_S
    while move() and time.monotonic() < end:
        pieces += 1
    return pieces


class SeriesSampler:
    """Keeps a sample of every model for charts of the last minutes, once a step of the store's clock."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._due = 0.0

    def sample(self) -> int:
        """Whether it was time."""
        if time.monotonic() < self._due:
            return 0
        at_ms = self._store.run(sample(self._settings))
        self._due = time.monotonic() + STEP_S - at_ms / 1000 % STEP_S
        return 1


class BlobCollector:
    """Walks over all stored bytes again and again, except those younger than an upload's hold."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._walk: Iterator[list[str]] = iter(())
        self._next = 0.0

    def collect(self) -> int:
        """Look at the next names; returns how many were deleted."""
        names = next(self._walk, None)
        if names is None:
            if time.monotonic() < self._next:
                return 0
            self._next = time.monotonic() + PAUSE_S
            if not self._owns():
                log.error("the blob store belongs to another record store: nothing is deleted")
                UPKEEP.labels("foreign").inc()
                return 0
            self._walk = self._blobs.older(HOLD_S, NAMES_EACH)
            return self._blobs.sweep(HOLD_S)
        return sum(self._delete(name) for name in names)

    def _owns(self) -> bool:
        """Whether the blobs are of this record store: others may need what nobody here does.

        The first that looks has them; of two at the same time the last one to write.
        """
        id = self._store.run(identity())
        if self._blobs.owner() is None:
            self._blobs.assign(id)
        return self._blobs.owner() == id

    def _delete(self, name: str) -> bool:
        """One at a time, so that an upload does not wait long for the mark to go."""
        return bool(self._store.run(mark_deleted([name]))) and delete_blob(self._store, self._blobs, name)
