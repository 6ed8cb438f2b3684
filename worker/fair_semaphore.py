"""Semaphores that share a resource, such as memory or turns at one host, fairly among callers.

A free part goes first to the waiting caller that holds least, so one caller's many requests delay no other's.
"""

import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from shared.cgroup import memory_bytes, processors


@dataclass
class Waiter:
    """A thread that works for a caller; `waited_s` is how long it has waited in semaphores so far."""

    caller: str
    waited_s: float = 0.0


class FairSemaphore:
    """If the first thread in the queue wants more than is free, all wait, so large requests do not starve.

    The last `kept` go only to a caller that holds nothing.
    """

    def __init__(self, size: int, kept: int = 0) -> None:
        self._size, self._kept = size, kept
        self._changed = threading.Condition()
        self._amounts: Counter[str] = Counter()
        self._waiting: dict[object, str] = {}

    @contextmanager
    def reserve(self, amount: int, waiter: Waiter, limit_s: float | None = None) -> Iterator[None]:
        """Hold `amount` for the block; one beyond the size takes all of it, and 0 never waits.

        Raises TimeoutError if that much does not come free in time.
        """
        amount, caller = min(amount, self._size), waiter.caller
        if not amount:
            yield
            return
        began = time.monotonic()
        with self._changed:
            self._join(caller, amount, limit_s)
        waiter.waited_s += time.monotonic() - began
        try:
            yield
        finally:
            with self._changed:
                self._amounts[caller] -= amount
                self._amounts += Counter()  # Drops callers at zero.
                self._changed.notify_all()

    def count(self) -> int:
        """How much is held."""
        with self._changed:
            return self._amounts.total()

    def _join(self, caller: str, amount: int, limit_s: float | None) -> None:
        """In order of arrival, but who holds least first."""
        thread = object()
        self._waiting[thread] = caller
        try:
            if not self._changed.wait_for(
                lambda: self._first() is thread and self._has(amount, caller), limit_s
            ):
                raise TimeoutError
            self._amounts[caller] += amount
        finally:
            del self._waiting[thread]
            # Another may be the first now, and there may be enough for two.
            self._changed.notify_all()

    def _first(self) -> object:
        return min(self._waiting, key=lambda thread: self._amounts[self._waiting[thread]])

    def _has(self, amount: int, caller: str) -> bool:
        free = self._size - self._amounts.total()
        return free - amount >= (self._kept if self._amounts[caller] else 0)


class KeyedFairSemaphore:
    """At most `limit` threads at each key, such as a host; its waiting callers share it equally.

    The last free place goes only to a caller that has none there. Keys without threads are not remembered.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._keys = WeakValueDictionary[Hashable, FairSemaphore]()

    def reserve(self, key: Hashable, caller: str, limit_s: float) -> AbstractContextManager[None]:
        """One place, for the block, which raises TimeoutError if none is free in time."""
        with self._lock:
            places = self._keys.setdefault(key, FairSemaphore(self._limit, kept=1))
        return places.reserve(1, Waiter(caller), limit_s)

    def count(self, key: Hashable) -> int:
        """How many places at a key are taken."""
        places = self._keys.get(key)
        return places.count() if places else 0


# Each request may hold 50 MB of pixels, and a model's processor makes several times as much of them.
MIN_CONCURRENCY, MAX_CONCURRENCY = 2, 8
# The other processors are the model's, and those of other workers on this host.
PROCESSORS_EACH = 4
# Of this a request takes up to 250 MB.
MEMORY_EACH = 2 * 2**30


def prepare_concurrency() -> int:
    """How many requests' pictures and sounds a worker prepares at the same time."""
    by_resources = min(processors() // PROCESSORS_EACH, memory_bytes() // MEMORY_EACH)
    return min(MAX_CONCURRENCY, max(MIN_CONCURRENCY, by_resources))
