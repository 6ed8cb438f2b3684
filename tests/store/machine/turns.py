"""The fair share, kept by hand: what each caller and each class was served while both waited.

Self-clocked fair queueing lets two flows that wait both drift apart by at most one largest piece of each
(Golestani, INFOCOM 1994). A flow that stops waiting starts anew.
"""

from collections.abc import Mapping
from itertools import combinations

from tests.store.machine.model import Model
from tests.store.machine.work import CLASSES, Work

PACE = dict(zip(CLASSES, (1, 4, 16), strict=True))


class Ledger:
    """Of one lane. `largest` is the cost of its largest piece."""

    def __init__(self, lane: str, largest: int) -> None:
        self._lane = lane
        self._largest = largest
        self._served: dict[tuple[str, str], int] = {}

    def look(self, model: Model) -> None:
        """Before anything is taken: who waits, and who stopped waiting."""
        flows = self._waiting(model)
        pairs = {pair for pair in combinations(sorted(flows), 2) if flows[pair[0]][0] == flows[pair[1]][0]}
        self._served = {pair: self._served.get(pair, 0) for pair in pairs}

    def serve(self, model: Model, work: Work) -> None:
        """A piece leaves the line, which stood as the model has it."""
        if work.suspect or work.charged:
            return
        self.look(model)
        flows = self._waiting(model)
        own = {work.priority, f"{work.priority} {work.caller}"}
        for pair in self._served:
            for flow, sign in zip(pair, (1, -1), strict=True):
                if flow in own:
                    self._served[pair] += sign * work.cost * flows[flow][1]

    def unfair(self, model: Model) -> list[str]:
        """The pairs that drifted apart further than one largest piece of each."""
        flows = self._waiting(model)
        return [
            f"{one} had {ahead} more than {other}"
            for (one, other), ahead in self._served.items()
            if one in flows
            and other in flows
            and abs(ahead) > self._largest * (flows[one][1] + flows[other][1])
        ]

    def _waiting(self, model: Model) -> Mapping[str, tuple[str, int]]:
        """What shares, with whom, and at what pace: classes in the lane, callers in their class."""
        flows: dict[str, tuple[str, int]] = {}
        for work in model.waiting(self._lane):
            if not work.suspect:
                flows[work.priority] = ("", PACE[work.priority])
                flows[f"{work.priority} {work.caller}"] = (work.priority, 1)
        return flows
