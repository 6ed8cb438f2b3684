"""Tells which grammars can be used: each is tried once, a few at a time, and callers take turns."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.trial import fault

AT_ONCE = 2
"""Trials at once; each may take all of a trial's time and memory."""
KEPT = 256
"""Results kept of all callers together; if there are more, the caller with the most loses the oldest."""


class Places:
    """Places for threads. A free one goes to the caller who holds the fewest; equals take turns."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: Counter[str] = Counter()
        # In the order of their turns, which a dictionary keeps.
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, caller: str) -> Iterator[None]:
        with self._changed:
            self._waiting[caller] += 1
            self._changed.wait_for(lambda: self._next() == caller)
            if more := self._waiting.pop(caller) - 1:
                self._waiting[caller] = more
            self._held[caller] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held[caller] -= 1
                self._held += Counter()  # Forgets what is at zero.
                self._changed.notify_all()

    def _next(self) -> str | None:
        if self._held.total() >= self._count:
            return None
        return min(self._waiting, key=lambda caller: self._held[caller], default=None)


class Trials:
    """The results for each caller's latest grammars; may be used from several threads.

    Callers share none, so that no caller can tell from an answer's time what another one asked.
    """

    def __init__(self) -> None:
        self._places = Places(AT_ONCE)
        self._found: dict[tuple[str, str], str] = {}
        self._keeping = threading.Lock()

    def fault(self, grammar: str, caller: str) -> str:
        """Why this grammar cannot be used; "" if it can. Raises TrialError.

        A new grammar waits for a place, then takes a tenth of a second to some seconds.
        """
        key = (caller, grammar)
        found = self._found.get(key)
        if found is not None:
            return found
        with self._places.taking(caller):
            # Another thread may have tried it meanwhile.
            found = self._found.get(key)
            if found is None:
                found = fault(grammar)
                self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, str], found: str) -> None:
        with self._keeping:
            self._found[key] = found
            if len(self._found) > KEPT:
                kept = Counter(caller for caller, _ in self._found)
                most = max(kept, key=lambda caller: kept[caller])
                del self._found[next(key for key in self._found if key[0] == most)]


TRIALS = Trials()
"""Those of this process, whose memory all trials share."""
