"""The pass that ends what waits for models that were removed."""

import time

from shared.settings import Settings
from shared.store.models import Registered, end_earlier, end_waiting, places, registered
from shared.store.script import Store

LONGEST_S = 0.25
"""A round goes on for so long where more waits than one step ends."""


class Removal:
    """Looks once through all lines after each removal; a courier that dies leaves that to the next."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._walks: dict[tuple[str, str], tuple[int, str]] = {}

    def end_waiting(self) -> int:
        """How many pieces of work ended in this round."""
        found, until = self._store.run(registered()), time.monotonic() + LONGEST_S
        self._walks = {removal: self._walks.get(removal, (0, "0")) for removal in found.removing.items()}
        return sum(self._of_line(lane, until) for lane in found.removed) + self._of_all(found, until)

    def _of_line(self, lane: str, until: float) -> int:
        total = 0
        while count := self._store.run(end_waiting(self._settings, lane)).ended:
            total += count
            if time.monotonic() > until:
                break
        return total

    def _of_all(self, found: Registered, until: float) -> int:
        total = 0
        for removal in sorted(found.removing.items()):
            while removal in self._walks:
                total += self._step(*removal)
                if time.monotonic() > until:
                    return total
        return total

    def _step(self, lane: str, generation: str) -> int:
        """One step of a lane's walk; at the end of the last it is walked for no more."""
        place, cursor = self._walks[lane, generation]
        swept = self._store.run(end_earlier(self._settings, lane, places(lane)[place], cursor, generation))
        if swept.cursor != "0":
            self._walks[lane, generation] = (place, swept.cursor)
        elif place + 1 < len(places(lane)):
            self._walks[lane, generation] = (place + 1, "0")
        else:
            del self._walks[lane, generation]
        return swept.ended
