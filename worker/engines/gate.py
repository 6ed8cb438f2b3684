"""Who may generate now, and whether those inside make progress."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.base import Cancelled

# How late a row that still waits outside notices that it was cancelled.
CANCEL_POLL_S = 0.05


class Gate:
    """Lets `rows` threads in at once; the others wait."""

    def __init__(self, rows: int) -> None:
        self._free = threading.BoundedSemaphore(rows)
        self._lock = threading.Lock()
        self._inside = 0
        self._ticked = 0.0
        self._longest = 0.0

    @contextmanager
    def enter(self, cancel: threading.Event) -> Iterator[None]:
        """Wait for a place. Raises Cancelled, also from outside."""
        while not self._free.acquire(timeout=CANCEL_POLL_S):
            if cancel.is_set():
                raise Cancelled
        try:
            if cancel.is_set():
                raise Cancelled
            with self._lock:
                if not self._inside:
                    self._ticked = time.monotonic()
                self._inside += 1
            try:
                yield
            finally:
                with self._lock:
                    self._inside -= 1
        finally:
            self._free.release()

    def tick(self) -> None:
        """Someone inside made progress."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._ticked)
        self._ticked = now

    @property
    def longest_s(self) -> float:
        """The longest pause between two ticks so far."""
        return self._longest

    def idle_s(self) -> float:
        """Seconds since the last tick; 0 while nobody is inside."""
        with self._lock:
            return time.monotonic() - self._ticked if self._inside else 0.0
