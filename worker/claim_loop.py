"""Lets the threads of a model worker claim runs, but no more than fit into its rows."""

import threading
from collections.abc import Callable, Iterator

from shared.store.claims import Again, Claim, Full

RECHECK_S = 2.0
"""Waiting threads claim again after this: rows may get free elsewhere, as when a claim's reply was lost."""


class ClaimLoop:
    """Yields claims to task threads; those that the store answered `full` wait here for free rows.

    A waiting thread takes no nudges, and it passes on the one it came with, so that another worker learns of
    the waiting run. Once all threads work or wait, this worker gets no more nudges.
    """

    def __init__(
        self, claim: Callable[[], Claim | Again | Full | None], renudge: Callable[[], object], slots: int
    ) -> None:
        """`claim` takes the best waiting run; `slots` are the rows that all claims together may take.

        `renudge` sends the nudge of a thread that must wait to another worker.
        """
        self._claim = claim
        self._renudge = renudge
        self._slots = slots
        self._rows = 0
        self._changes = 0
        self._changed = threading.Condition()

    def claims(self) -> Iterator[Claim]:
        """Yield claims to one thread while any run waits; the next is claimed once the last has ended."""
        renudged = False
        while True:
            changes = self._changes
            claim = self._claim()
            if claim is None:
                return
            if claim == "again":
                continue
            if claim != "full":
                yield from self._counted(claim)
                continue
            if not renudged:
                self._renudge()
                renudged = True
            self._wait(changes)

    def wake_all(self) -> None:
        """Let all waiting threads claim again."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _counted(self, claim: Claim) -> Iterator[Claim]:
        self._count(claim.rows)
        try:
            yield claim
        finally:
            self._count(-claim.rows)

    def _count(self, rows: int) -> None:
        """Count rows; if a claim leaves some free, wake a thread; one whose run ended claims anyway."""
        with self._changed:
            self._rows += rows
            self._changes += 1
            if rows > 0 and self._rows < self._slots:
                self._changed.notify()

    def _wait(self, changes: int) -> None:
        """Wait for a change, which may already have come since `changes` was read."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, RECHECK_S)
