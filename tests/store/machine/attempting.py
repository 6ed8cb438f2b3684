"""What workers and couriers do."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.result import JobError
from shared.store.keys import INTAKE
from tests.store.machine.base import STEP_S, again, pick
from tests.store.machine.callers import questions
from tests.store.machine.moves import PLACES, Moves
from tests.support.store import BROKEN, FAILURE, LANE

places = st.sampled_from(tuple(PLACES))
texts = st.sampled_from(("a", "bc", "🖼é"))
ways = st.sampled_from(("settle", "settle", "settle late", "put back", "fail"))
fetched = st.sampled_from(("admit", "admit", "refuse", "fail", "hold"))
errors = st.sampled_from((None, FAILURE, FAILURE))


class Workers(Moves):
    """Claims and what becomes of them, also of those that somebody else was given meanwhile."""

    @precondition(lambda self: self.model.waiting(LANE))
    @rule(place=places, count=st.sampled_from((1, 1, 2, 4)), again=again)
    def work(self, place: str, count: int, again: bool) -> None:
        for _ in range(count):
            self.claim(place, again=again)

    @precondition(lambda self: self.model.waiting(INTAKE))
    @rule(end=fetched, question=questions, pictures=st.integers(0, 3), again=again)
    def fetch(self, end: str, question: str, pictures: int, again: bool) -> None:
        claim = self.claim("courier", again=again)
        if claim and end == "admit":
            self.take_in(claim, question, pictures, again=again)
        elif claim and end == "refuse":
            self.refuse(claim, again=again)
        elif claim and end == "fail":
            self.put_back(claim, FAILURE, again=again)

    @precondition(lambda self: self.model.waiting(LANE))
    @rule(place=places, ends=st.lists(ways, min_size=2, max_size=6))
    def serve(self, place: str, ends: list[str]) -> None:
        """One after the other."""
        for end in ends:
            if claim := self.claim(place):
                self.publish(claim)
                self.advance(STEP_S * 1000 if end == "settle late" else 1)
                if end.startswith("settle"):
                    self.end(claim, rest="c" if end == "settle late" else "")
                else:
                    self.put_back(claim, FAILURE if end == "fail" else None)

    @precondition(lambda self: self.good(runs=True))
    @rule(at=pick, text=texts, back=st.sampled_from((0, 0, 0, 1)), again=again)
    def append(self, at: int, text: str, back: int, again: bool) -> None:
        self.publish(self.some(self.good(runs=True), at), text, back, again=again)

    @precondition(lambda self: self.good(runs=True))
    @rule(at=pick, error=st.sampled_from((None, None, BROKEN)), rest=st.just("") | texts, again=again)
    def settle(self, at: int, error: JobError | None, rest: str, again: bool) -> None:
        self.end(self.some(self.good(runs=True), at), error, rest, again=again)

    @precondition(lambda self: self.good())
    @rule(at=pick, error=errors, died=st.booleans(), again=again)
    def give_back(self, at: int, error: JobError | None, died: bool, again: bool) -> None:
        self.put_back(self.some(self.good(), at), error, died=died, again=again)

    @precondition(lambda self: self.good(runs=False))
    @rule(at=pick, question=questions, pictures=st.integers(0, 3), again=again)
    def admit(self, at: int, question: str, pictures: int, again: bool) -> None:
        self.take_in(self.some(self.good(runs=False), at), question, pictures, again=again)

    @precondition(lambda self: self.stale())
    @rule(at=pick)
    def too_late(self, at: int) -> None:
        """Who was given up, or has done it all, comes back and tries everything."""
        claim = self.some(self.stale(), at)
        if not claim.terms:
            self.publish(claim)
            self.end(claim)
        else:
            self.take_in(claim, "a", 1)
            self.refuse(claim)
        self.put_back(claim, FAILURE)
