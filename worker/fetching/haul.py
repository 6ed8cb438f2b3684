"""Limits what one job may fetch, and how many jobs may hold much of it in memory at once."""

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from worker.fetching.outbound import Allowance
from worker.turns import Turns

SMALL = 2**20
"""Bytes that every job may hold; a job that fetches more needs one of the places."""
LARGE_AT_ONCE = 4


class Haul(Allowance):
    """The allowance of one job, for a block; at its end threads still fetching for the job are stopped."""

    def __init__(
        self, limit_s: float, max_bytes: int, cancel: threading.Event, places: Turns, caller: str
    ) -> None:
        super().__init__(limit_s, max_bytes, cancel, caller)
        self._places, self._place = places, ExitStack()
        self._taken = 0
        self._large = self._over = False
        self._growing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        with self._growing:
            self._place.close()

    def left(self) -> float:
        if self._over:
            raise TimeoutError
        return super().left()

    def take(self, count: int) -> None:
        """As `Allowance.take`, but beyond `SMALL` bytes it waits for a place.

        Raises TimeoutError, and Unavailable `queue_full` if no place comes.
        """
        super().take(count)
        with self._growing:
            self.left()
            self._taken += count
            if self._taken > SMALL and not self._large:
                self._place.enter_context(self.turn(self._places, "large"))
                self._large = True
