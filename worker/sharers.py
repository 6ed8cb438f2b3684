"""Callers who share something of which there is only so much."""

import threading
from collections import Counter
from collections.abc import Callable


class Sharers:
    """How much of it each caller has, and who waits for some, in the order in which they came.

    Whoever calls holds `changed`, which is told of every change.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.taken: Counter[str] = Counter()
        self.waiting: dict[object, str] = {}
        self._changed = changed

    def join(self, caller: str, amount: int, free: Callable[[], bool], limit_s: float | None = None) -> None:
        """Take so much once that is `free`, and of all who wait this caller has least.

        Raises TimeoutError where it does not come to that in time.
        """
        waiter = object()
        self.waiting[waiter] = caller
        try:
            if not self._changed.wait_for(lambda: self._first() is waiter and free(), limit_s):
                raise TimeoutError
            self.taken[caller] += amount
        finally:
            del self.waiting[waiter]
            # Another may be the first now, and there may be room for two.
            self._changed.notify_all()

    def leave(self, caller: str, amount: int) -> None:
        """Give so much back."""
        self.taken[caller] -= amount
        self.taken += Counter()  # Forgets who is at zero.
        self._changed.notify_all()

    def _first(self) -> object:
        """Of who waits: the first of the caller who has least."""
        return min(self.waiting, key=lambda waiter: self.taken[self.waiting[waiter]])
