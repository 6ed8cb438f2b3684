"""Whose turn it is, in long lines: fewer moves than there are, and more of each."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.job import Priority
from tests.store.machine.base import pick
from tests.store.machine.callers import classes, costs, people, widths
from tests.store.machine.door import Terms
from tests.store.machine.moves import Moves
from tests.support.store import LANE

counts = st.sampled_from((1, 2, 6))


class Sharing(Moves):
    """Callers who ask a lot at once, and workers who serve."""

    @rule(caller=people, priority=classes, cost=costs, rows=widths, count=counts)
    def ask(self, caller: str, priority: Priority, cost: int, rows: int, count: int) -> None:
        for _ in range(count):
            self.submit(self.placing(caller=caller, priority=priority, cost=cost, rows=rows), Terms())

    @precondition(lambda self: self.model.waiting(LANE))
    @rule(count=counts)
    def work(self, count: int) -> None:
        for _ in range(count):
            self.claim("one")

    @precondition(lambda self: self.good())
    @rule(at=pick)
    def give_back(self, at: int) -> None:
        self.put_back(self.some(self.good(), at))

    @precondition(lambda self: self.model.waiting(LANE))
    @rule(at=pick)
    def cancel(self, at: int) -> None:
        self.leave(self.some(self.model.waiting(LANE), at).live[0])
