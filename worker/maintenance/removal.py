"""The pass that ends what waits for models that were removed."""

import time

from shared.settings import Settings
from shared.store.models import ELSEWHERE, Registered, end_elsewhere, end_waiting, registered
from shared.store.script import Store

LONGEST_S = 0.25
"""A round goes on for so long where more waits than one step ends."""


class Removal:
    """Looks once through other lines after each removal; a courier that dies leaves that to the next."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._walks: dict[str, tuple[int, str]] = {}

    def end_waiting(self) -> int:
        """How many pieces of work ended in this round."""
        found, until = self._store.run(registered()), time.monotonic() + LONGEST_S
        self._walks = {lane: self._walks.get(lane, (0, "0")) for lane in found.removing}
        return sum(self._of_line(lane, until) for lane in found.removed) + self._of_others(found, until)

    def _of_line(self, lane: str, until: float) -> int:
        total = 0
        while count := self._store.run(end_waiting(self._settings, lane)).ended:
            total += count
            if time.monotonic() > until:
                break
        return total

    def _of_others(self, found: Registered, until: float) -> int:
        total = 0
        for lane in sorted(found.removing):
            while lane in self._walks:
                total += self._step(lane)
                if time.monotonic() > until:
                    return total
        return total

    def _step(self, lane: str) -> int:
        """One step of a lane's walk; at the end of the last it is walked for no more."""
        place, cursor = self._walks[lane]
        swept = self._store.run(end_elsewhere(self._settings, lane, ELSEWHERE[place], cursor))
        if swept.cursor != "0":
            self._walks[lane] = (place, swept.cursor)
        elif place + 1 < len(ELSEWHERE):
            self._walks[lane] = (place + 1, "0")
        else:
            del self._walks[lane]
        return swept.ended
