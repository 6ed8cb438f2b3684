"""Limits how many threads generate at once, and watches whether they make progress."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.base import Cancelled, ProgressClock

# How long a waiting row may take to notice that it was cancelled.
CANCEL_POLL_S = 0.05


class RowLimit:
    """Lets `rows` threads in at once; the others wait."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._inside = 0
        self._progress = ProgressClock()

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
                self._progress.start()
            self._inside += 1
            self._waiting.popleft().set()

    def _leave(self, turn: threading.Event) -> None:
        with self._lock:
            if turn.is_set():
                self._inside -= 1
            else:
                self._waiting.remove(turn)
            if not self._inside:
                self._progress.rest()
            self._admit()

    def tick(self) -> None:
        """A thread inside made progress."""
        self._progress.tick()

    @property
    def waiting(self) -> int:
        """Rows that wait for a place."""
        return len(self._waiting)

    @property
    def longest_s(self) -> float:
        """The longest pause between two ticks so far."""
        return self._progress.longest_s

    def idle_s(self) -> float:
        """Seconds since the last tick; 0 while no thread is inside."""
        return self._progress.idle_s()
