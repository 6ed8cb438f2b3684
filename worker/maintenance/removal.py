"""The pass that ends the waiting work of models that were removed."""

import time

from shared.settings import Settings
from shared.store.models import Registered, end_earlier, end_waiting, places, registered
from shared.store.script import Store

LONGEST_S = 0.25
"""Seconds that a round may take if more waits than one step ends."""


class ModelRemoval:
    """Walks once through all queues after each removal; if the courier exits, the next one starts again."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._walks: dict[tuple[str, str], tuple[int, str]] = {}

    def end_waiting(self) -> int:
        """End waiting work for one round; returns how much ended."""
        models, until = self._store.run(registered()), time.monotonic() + LONGEST_S
        self._walks = {removal: self._walks.get(removal, (0, "0")) for removal in models.removing.items()}
        return sum(self._end_queue(lane, until) for lane in models.removed) + self._end_all(models, until)

    def _end_queue(self, lane: str, until: float) -> int:
        total = 0
        while count := self._store.run(end_waiting(self._settings, lane)).ended:
            total += count
            if time.monotonic() > until:
                break
        return total

    def _end_all(self, models: Registered, until: float) -> int:
        total = 0
        for removal in sorted(models.removing.items()):
            while removal in self._walks:
                total += self._step(*removal)
                if time.monotonic() > until:
                    return total
        return total

    def _step(self, lane: str, generation: str) -> int:
        """One step of a lane's walk through its places; after the last place the walk ends."""
        place, cursor = self._walks[lane, generation]
        swept = self._store.run(end_earlier(self._settings, lane, places(lane)[place], cursor, generation))
        if swept.cursor != "0":
            self._walks[lane, generation] = (place, swept.cursor)
        elif place + 1 < len(places(lane)):
            self._walks[lane, generation] = (place + 1, "0")
        else:
            del self._walks[lane, generation]
        return swept.ended
