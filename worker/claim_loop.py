"""Lets the threads of a model worker claim runs, but no more than its rows have room for."""

import threading
from collections.abc import Callable, Iterator

from shared.store.claims import Again, Claim, Full

LOOK_AGAIN_S = 2.0
"""Waiting threads ask again after this: room may be made elsewhere, as when a claim's reply was lost."""


class Claiming:
    """Here threads wait that the store answered `full`, because it counts the rows of what a worker holds.

    A waiting thread takes no nudges, and it passes on the one it came with, so that another worker hears of
    the waiting run. Once all threads work or wait, this worker gets no more nudges.
    """

    def __init__(
        self, ask: Callable[[], Claim | Again | Full | None], pass_on: Callable[[], object], slots: int
    ) -> None:
        """`ask` claims the best waiting run; `slots` are the rows that all claims together may take."""
        self._ask = ask
        self._pass_on = pass_on
        self._slots = slots
        self._rows = 0
        self._changes = 0
        self._changed = threading.Condition()

    def each(self) -> Iterator[Claim]:
        """Yield claims to one thread while any run waits; the next is claimed once the last is done."""
        passed_on = False
        while True:
            changes = self._changes
            taken = self._ask()
            if taken is None:
                return
            if taken == "again":
                continue
            if taken != "full":
                yield from self._counted(taken)
                continue
            if not passed_on:
                self._pass_on()
                passed_on = True
            self._wait(changes)

    def stir(self) -> None:
        """Let all waiting threads ask again."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _counted(self, taken: Claim) -> Iterator[Claim]:
        self._take(taken.rows)
        try:
            yield taken
        finally:
            self._take(-taken.rows)

    def _take(self, rows: int) -> None:
        """Count rows; if a claim leaves room, wake one more thread. A thread whose run ended asks anyway."""
        with self._changed:
            self._rows += rows
            self._changes += 1
            if rows > 0 and self._rows < self._slots:
                self._changed.notify()

    def _wait(self, changes: int) -> None:
        """Wait for a change, which may already have come since `changes` was read."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, LOOK_AGAIN_S)
