"""Turns at something of which there are many, such as hosts: so many at a time for each, others wait."""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Sharers:
    """Who has a turn at one thing, by callers, and who waits for one, in the order in which they came."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.waiting: dict[object, str] = {}

    def first(self) -> object:
        """Of who waits: the first of the caller who has fewest turns."""
        return min(self.waiting, key=lambda waiter: self.taken[self.waiting[waiter]])


class Turns:
    """At most `most` threads at each thing at a time, shared alike by the callers who wait.

    The last turn is left to a caller who has none there. What nobody uses is not remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sharers: dict[Hashable, Sharers] = {}
        self._changed = threading.Condition()

    @contextmanager
    def at(self, thing: Hashable, caller: str, limit_s: float) -> Iterator[None]:
        """One turn, for the block. Raises TimeoutError where none comes in time."""
        with self._changed:
            sharers = self._sharers.setdefault(thing, Sharers())
            self._join(sharers, caller, limit_s)
        try:
            yield
        finally:
            with self._changed:
                sharers.taken[caller] -= 1
                sharers.taken += Counter()  # Forgets who is at zero.
                if not (sharers.taken or sharers.waiting):
                    del self._sharers[thing]
                self._changed.notify_all()

    def _join(self, sharers: Sharers, caller: str, limit_s: float) -> None:
        waiter = object()
        sharers.waiting[waiter] = caller
        try:
            if not self._changed.wait_for(
                lambda: sharers.first() is waiter and self._free(sharers, caller), limit_s
            ):
                raise TimeoutError
            sharers.taken[caller] += 1
        finally:
            del sharers.waiting[waiter]
            # Another may be the first now, and there may be room for two.
            self._changed.notify_all()

    def _free(self, sharers: Sharers, caller: str) -> bool:
        left = self._most - sharers.taken.total()
        return left > 1 or (left == 1 and not sharers.taken[caller])
