"""Limits how many threads work at the same thing at a time, such as one host; others wait their turn."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from worker.sharers import Sharers


class Turns:
    """At most `most` threads at each thing at a time, shared equally by the waiting callers.

    The last free turn goes only to a caller who has none there. Things without threads are not remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sharers: dict[Hashable, Sharers] = {}
        self._changed = threading.Condition()

    @contextmanager
    def at(self, thing: Hashable, caller: str, limit_s: float) -> Iterator[None]:
        """One turn, for the block. Raises TimeoutError if none comes in time."""
        with self._changed:
            sharers = self._sharers.setdefault(thing, Sharers(self._changed))
            sharers.join(caller, 1, lambda: self._free(sharers, caller), limit_s)
        try:
            yield
        finally:
            with self._changed:
                sharers.leave(caller, 1)
                if not (sharers.taken or sharers.waiting):
                    del self._sharers[thing]

    def _free(self, sharers: Sharers, caller: str) -> bool:
        left = self._most - sharers.taken.total()
        return left > 1 or (left == 1 and not sharers.taken[caller])
