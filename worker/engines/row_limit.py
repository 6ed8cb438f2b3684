"""Limits how many threads generate at once, and watches whether they make progress."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.base import Cancelled, ProgressClock

# How long a waiting row may take to notice that it was cancelled.
CANCEL_POLL_S = 0.05


class RowLimit(ProgressClock):
    """Lets `rows` threads in at once; the others wait. Those inside `tick`."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._inside = 0

    @contextmanager
    def enter(self, cancel: threading.Event) -> Iterator[None]:
        """Wait for a place, in the order of arrival. Raises Cancelled, also while waiting."""
        turn = threading.Event()
        with self._lock:
            self._waiting.append(turn)
            self._admit()
        try:
            while not turn.wait(CANCEL_POLL_S) and not cancel.is_set():
                pass
            if cancel.is_set():
                raise Cancelled
            yield
        finally:
            self._leave(turn)

    def _admit(self) -> None:
        while self._waiting and self._inside < self._rows:
            if not self._inside:
                self.start()
            self._inside += 1
            self._waiting.popleft().set()

    def _leave(self, turn: threading.Event) -> None:
        with self._lock:
            if turn.is_set():
                self._inside -= 1
            else:
                self._waiting.remove(turn)
            if not self._inside:
                self.rest()
            self._admit()
