"""Shares a limited resource among callers: it goes first to the caller who holds least."""

import threading
from collections import Counter
from collections.abc import Callable


class Sharers:
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
