"""Limits a resource that threads share, such as memory, pixels or bytes being fetched."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Shares a limited resource among callers: it goes first to the caller who holds least.


class FairQueue:
    """How much each caller holds, and which waiters want some, in order of arrival.

    Every method must be called with `changed` held, and notifies it of changes.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.taken: Counter[str] = Counter()
        self.waiting: dict[object, str] = {}
        self._changed = changed

    def join(self, caller: str, amount: int, free: Callable[[], bool], limit_s: float | None = None) -> None:
        """Take `amount` once it is `free` and no waiting caller holds less.

        Raises TimeoutError if that takes longer than `limit_s`.
        """
        waiter = object()
        self.waiting[waiter] = caller
        try:
            if not self._changed.wait_for(lambda: self._first() is waiter and free(), limit_s):
                raise TimeoutError
            self.taken[caller] += amount
        finally:
            del self.waiting[waiter]
            # Another waiter may be the first now, and there may be room for two.
            self._changed.notify_all()

    def leave(self, caller: str, amount: int) -> None:
        """Give `amount` back."""
        self.taken[caller] -= amount
        self.taken += Counter()  # Forgets who is at zero.
        self._changed.notify_all()

    def _first(self) -> object:
        """The first waiter of the waiting caller who holds least."""
        return min(self.waiting, key=lambda waiter: self.taken[self.waiting[waiter]])


@dataclass
class Waiter:
    """A thread that takes room for a caller; `waited_s` is how long it has waited for any room so far."""

    caller: str
    waited_s: float = 0.0


class FairSemaphore:
    """If the first thread in line wants more than is left, all wait, so that large requests do not starve.

    A caller who holds less comes before one who holds more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._sharers = FairQueue(self._changed)

    @contextmanager
    def taking(self, amount: int, guest: Waiter) -> Iterator[None]:
        """Hold `amount` of the room for the block.

        An `amount` beyond the size takes all of it; 0 never waits.
        """
        amount = min(amount, self._size)
        if not amount:
            yield
            return
        began = time.monotonic()
        with self._changed:
            self._sharers.join(guest.caller, amount, lambda: self._has(amount))
        guest.waited_s += time.monotonic() - began
        try:
            yield
        finally:
            with self._changed:
                self._sharers.leave(guest.caller, amount)

    def _has(self, amount: int) -> bool:
        return self._sharers.taken.total() + amount <= self._size


# Limits how many threads work at the same thing at a time, such as one host; others wait their turn.


class KeyedFairSemaphore:
    """At most `most` threads at each thing at a time, shared equally by the waiting callers.

    The last free turn goes only to a caller who has none there. Things without threads are not remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sharers: dict[Hashable, FairQueue] = {}
        self._changed = threading.Condition()

    @contextmanager
    def at(self, thing: Hashable, caller: str, limit_s: float) -> Iterator[None]:
        """One turn, for the block. Raises TimeoutError if none comes in time."""
        with self._changed:
            sharers = self._sharers.setdefault(thing, FairQueue(self._changed))
            sharers.join(caller, 1, lambda: self._free(sharers, caller), limit_s)
        try:
            yield
        finally:
            with self._changed:
                sharers.leave(caller, 1)
                if not (sharers.taken or sharers.waiting):
                    del self._sharers[thing]

    def _free(self, sharers: FairQueue, caller: str) -> bool:
        left = self._most - sharers.taken.total()
        return left > 1 or (left == 1 and not sharers.taken[caller])


# How many processors this process may use.

# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))


# How many requests' pictures and sounds a worker prepares at the same time; callers take turns.

# Bytes, or "max"; exists with control groups of version 2.
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")

# Each place may hold 50 MB of pixels, and a model's processor makes several times as much of them.
FEWEST, MOST = 2, 8
# One place for so many processors: the others are the model's, and those of other workers on the machine.
SHARE = 4
# One place for so much memory, of which it takes up to 250 MB.
EACH = 2 * 2**30


def prepare_concurrency() -> int:
    return min(MOST, max(FEWEST, min(processors() // SHARE, _memory() // EACH)))


def _memory() -> int:
    """Bytes that this process may use."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = MEMORY_MAX.read_text().strip() if MEMORY_MAX.exists() else "max"
    return there if limit == "max" else min(there, int(limit))
