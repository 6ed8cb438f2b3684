"""How the threads of a model worker come by their claims: no more of them than its rows can take."""

import threading
from collections.abc import Callable, Iterator

from shared.store.claims import Again, Claim, Full

LOOK_AGAIN_S = 2.0
"""Room that no thread here made, as when a claim's reply was lost, is found after so long."""


class Claiming:
    """The store counts the rows of what a worker holds; here wait the threads that it tells `full`.

    A thread that waits takes no nudges. The one that it came with it passes on, so that another worker hears
    of what waits; once all threads here work or wait, no nudge comes to this worker any more.
    """

    def __init__(
        self, ask: Callable[[], Claim | Again | Full | None], pass_on: Callable[[], object], slots: int
    ) -> None:
        """`ask` claims the best waiting run, `slots` are the rows that all claims together may take."""
        self._ask = ask
        self._pass_on = pass_on
        self._slots = slots
        self._rows = 0
        self._changes = 0
        self._changed = threading.Condition()

    def each(self) -> Iterator[Claim]:
        """One after the other while any waits, in one thread, which asks for the next when it has done."""
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
        """Whoever waits asks again."""
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
        """Where room is left one more may find work, and tells the next; who ends a run asks by itself."""
        with self._changed:
            self._rows += rows
            self._changes += 1
            if rows > 0 and self._rows < self._slots:
                self._changed.notify()

    def _wait(self, changes: int) -> None:
        """For a sign, which may have come since there were so many changes."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, LOOK_AGAIN_S)
