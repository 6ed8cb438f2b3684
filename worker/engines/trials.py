"""Tells which grammars can be used: each is tried once, a few at a time, and callers take turns."""

import threading
from collections import Counter

from worker.engines.trial import fault
from worker.room import Guest, Room

AT_ONCE = 2
"""Trials at once; each may take all of a trial's time and memory."""
KEPT = 256
"""Results kept of all callers together; if there are more, the caller with the most loses the oldest."""


class Trials:
    """The results for each caller's latest grammars; may be used from several threads.

    Callers share none, so that no caller can tell from an answer's time what another one asked.
    """

    def __init__(self) -> None:
        self._places = Room(AT_ONCE)
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
        with self._places.taking(1, Guest(caller)):
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
