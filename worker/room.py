"""Something that threads share and there is only so much of: memory, pixels, bytes on their way."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.sharers import Sharers


@dataclass
class Guest:
    """A thread that takes room for a caller; `waited_s` is how long it has waited for room, wherever."""

    caller: str
    waited_s: float = 0.0


class Room:
    """Who wants more than is left waits, and everybody behind waits too, so that no large one starves.

    A caller who has less of it is let in before one who has more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._sharers = Sharers(self._changed)

    @contextmanager
    def taking(self, amount: int, guest: Guest) -> Iterator[None]:
        """Hold `amount` of it for the block; who wants more than there is gets all, who wants nothing waits
        for nobody.
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
