"""Limits a resource that threads share, such as memory, pixels or bytes being fetched."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.sharers import Sharers


@dataclass
class Guest:
    """A thread that takes room for a caller; `waited_s` is how long it has waited for any room so far."""

    caller: str
    waited_s: float = 0.0


class Room:
    """If the first thread in line wants more than is left, all wait, so that large requests do not starve.

    A caller who holds less comes before one who holds more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._sharers = Sharers(self._changed)

    @contextmanager
    def taking(self, amount: int, guest: Guest) -> Iterator[None]:
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
