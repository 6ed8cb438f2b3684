"""Who may generate now, and whether those inside make progress."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.base import Cancelled

# How late a row that still waits outside notices that it was cancelled.
CANCEL_POLL_S = 0.05


class Gate:
    """Lets `rows` threads in at once; the others wait."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._inside = 0
        self._ticked = 0.0
        self._longest = 0.0

    @contextmanager
    def enter(self, cancel: threading.Event) -> Iterator[None]:
        """Wait for a place, in the order of arrival. Raises Cancelled, also from outside."""
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
                self._ticked = time.monotonic()
            self._inside += 1
            self._waiting.popleft().set()

    def _leave(self, turn: threading.Event) -> None:
        with self._lock:
            if turn.is_set():
                self._inside -= 1
            else:
                self._waiting.remove(turn)
            self._admit()

    def tick(self) -> None:
        """Someone inside made progress."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._ticked)
        self._ticked = now

    @property
    def waiting(self) -> int:
        """Rows outside."""
        return len(self._waiting)

    @property
    def longest_s(self) -> float:
        """The longest pause between two ticks so far."""
        return self._longest

    def idle_s(self) -> float:
        """Seconds since the last tick; 0 while nobody is inside."""
        with self._lock:
            return time.monotonic() - self._ticked if self._inside else 0.0
