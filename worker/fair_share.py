"""Semaphores that share a resource, such as memory or turns at one host, fairly among callers.

A free part goes first to the waiting caller that holds least, so one caller's many requests delay no other's.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class FairQueue:
    """How much each caller holds, and which waiters want some, in order of arrival.

    Every method must be called with `changed` held, and notifies it of changes.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.amounts: Counter[str] = Counter()
        self.waiting: dict[object, str] = {}
        self._changed = changed

    def join(
        self, caller: str, amount: int, is_free: Callable[[], bool], limit_s: float | None = None
    ) -> None:
        """Take `amount` once it `is_free` and no waiting caller holds less.

        Raises TimeoutError if that takes longer than `limit_s`.
        """
        waiter = object()
        self.waiting[waiter] = caller
        try:
            if not self._changed.wait_for(lambda: self._first() is waiter and is_free(), limit_s):
                raise TimeoutError
            self.amounts[caller] += amount
        finally:
            del self.waiting[waiter]
            # Another waiter may be the first now, and there may be enough for two.
            self._changed.notify_all()

    def leave(self, caller: str, amount: int) -> None:
        """Give `amount` back."""
        self.amounts[caller] -= amount
        self.amounts += Counter()  # Drops callers at zero.
        self._changed.notify_all()

    def _first(self) -> object:
        """The first waiter of the waiting caller that holds least."""
        return min(self.waiting, key=lambda waiter: self.amounts[self.waiting[waiter]])


@dataclass
class Waiter:
    """A thread that works for a caller; `waited_s` is how long it has waited in semaphores so far."""

    caller: str
    waited_s: float = 0.0


class FairSemaphore:
    """If the first thread in the queue wants more than is free, all wait, so large requests do not starve."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._queue = FairQueue(self._changed)

    @contextmanager
    def reserve(self, amount: int, waiter: Waiter) -> Iterator[None]:
        """Hold `amount` for the block; one beyond the size takes all of it, and 0 never waits."""
        amount = min(amount, self._size)
        if not amount:
            yield
            return
        began = time.monotonic()
        with self._changed:
            self._queue.join(waiter.caller, amount, lambda: self._has(amount))
        waiter.waited_s += time.monotonic() - began
        try:
            yield
        finally:
            with self._changed:
                self._queue.leave(waiter.caller, amount)

    def _has(self, amount: int) -> bool:
        return self._queue.amounts.total() + amount <= self._size


class KeyedFairSemaphore:
    """At most `limit` threads at each key, such as a host; its waiting callers share it equally.

    The last free place goes only to a caller that has none there. Keys without threads are not remembered.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queues: dict[Hashable, FairQueue] = {}
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, key: Hashable, caller: str, limit_s: float) -> Iterator[None]:
        """One place, for the block. Raises TimeoutError if none is free in time."""
        with self._changed:
            places = self._queues.setdefault(key, FairQueue(self._changed))
            places.join(caller, 1, lambda: self._is_free(places, caller), limit_s)
        try:
            yield
        finally:
            with self._changed:
                places.leave(caller, 1)
                if not (places.amounts or places.waiting):
                    del self._queues[key]

    def count(self, key: Hashable) -> int:
        """How many places at a key are taken."""
        with self._changed:
            return self._queues[key].amounts.total() if key in self._queues else 0

    def _is_free(self, places: FairQueue, caller: str) -> bool:
        free = self._limit - places.amounts.total()
        return free > 1 or (free == 1 and not places.amounts[caller])


# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
# Bytes, or "max"; exists with control groups of version 2.
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
# Each request may hold 50 MB of pixels, and a model's processor makes several times as much of them.
MIN_CONCURRENCY, MAX_CONCURRENCY = 2, 8
# The other processors are the model's, and those of other workers on this host.
PROCESSORS_EACH = 4
# Of this a request takes up to 250 MB.
MEMORY_EACH = 2 * 2**30


def prepare_concurrency() -> int:
    """How many requests' pictures and sounds a worker prepares at the same time."""
    by_resources = min(processors() // PROCESSORS_EACH, _memory() // MEMORY_EACH)
    return min(MAX_CONCURRENCY, max(MIN_CONCURRENCY, by_resources))


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    present = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return present if quota == "max" else max(1, min(present, int(quota) // int(period)))


def _memory() -> int:
    """Bytes that this process may use."""
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = MEMORY_MAX.read_text().strip() if MEMORY_MAX.exists() else "max"
    return present if limit == "max" else min(present, int(limit))
