"""Turns at something of which there are many, such as hosts: so many at a time for each, others wait."""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Turns:
    """At most `most` threads at each thing at a time; what nobody uses is not remembered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[Hashable] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def at(self, thing: Hashable, limit_s: float) -> Iterator[None]:
        """One turn, for the block. Raises TimeoutError where none comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken[thing] < self._most, limit_s):
                raise TimeoutError
            self._taken[thing] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[thing] -= 1
                self._taken += Counter()  # Forgets what is at zero.
                self._changed.notify_all()
