"""Something that threads share and there is only so much of: memory, pixels, bytes on their way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Who wants more than is left waits, and everybody behind waits too, so that no large one starves."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Hold `amount` of it for the block; who wants more than there is gets all of it."""
        amount = min(amount, self._size)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
