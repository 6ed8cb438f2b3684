"""What time brings: beats, deaths, deadlines, maintenance, pauses."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.store.workers import State
from tests.store.machine import upkeep
from tests.store.machine.attempting import places
from tests.store.machine.base import STEP_S, again, pick
from tests.store.machine.callers import questions
from tests.store.machine.door import Terms
from tests.store.machine.moves import PLACES, Moves
from tests.support.store import FAILURE, LANE

spans = st.sampled_from((*[1, 2, 8] * 6, 30, 30, 150, 300, 2572)).map(lambda steps: steps * STEP_S)


class Upkeep(Moves):
    """Maintenance, and what makes it needed."""

    @rule(place=places, state=st.sampled_from(("ready", "ready", "loading", "gone")), again=again)
    def beat(self, place: str, state: State, again: bool) -> None:
        name, by = self.name(place), PLACES[place]
        self.do(
            lambda: self.records.beat(
                worker=name, state=state, fingerprint=by, facts={"rows": "1", "engine": "echo"}
            ),
            lambda: upkeep.beat(self.model, name, state, by),
            again=again,
        )

    @rule(gone=st.sampled_from((False, False, True)), again=again)
    def node_beat(self, gone: bool, again: bool) -> None:
        self.do(
            lambda: self.records.node_beat(upkeep.NODE, gone=gone, load_in_ms="1000"),
            lambda: upkeep.node_beat(self.model, gone=gone),
            again=again,
        )

    @rule(place=places, known=st.integers(0, 2), again=again)
    def place(self, place: str, known: int, again: bool) -> None:
        name = self.name(place)
        self.do(
            lambda: self.records.place(name, known=known),
            lambda: upkeep.place(self.model, name, known),
            again=again,
        )

    @rule(place=places, stays=st.sampled_from((False, False, True)), again=again)
    def pause(self, place: str, stays: bool, again: bool) -> None:
        self.set_paused(True, again=again)
        self.claim(place)
        if not stays:
            self.set_paused(False, again=again)

    @precondition(lambda self: self.model.paused or self.model.draining)
    @rule(again=again)
    def resume(self, again: bool) -> None:
        self.set_paused(False, again=again)

    def set_paused(self, paused: bool, *, again: bool) -> None:
        self.do(
            lambda: self.records.pause(paused=paused),
            lambda: upkeep.pause(self.model, paused=paused),
            again=again,
        )

    @rule(place=places, stays=st.sampled_from((False, False, True)), again=again)
    def drain(self, place: str, stays: bool, again: bool) -> None:
        self.do(self.records.drain, lambda: setattr(self.model, "draining", True), again=again)
        self.claim(place)
        if not stays:
            self.set_paused(False, again=again)

    @rule(place=places, sweeps=st.sampled_from(("", "before", "after")), question=questions, again=again)
    def remove(self, place: str, sweeps: str, question: str, again: bool) -> None:
        """What waits ends, when maintenance looks or at its turn, also where the model comes back before."""
        courier = self.claim("courier")
        self.do(self.records.remove_model, lambda: upkeep.remove(self.model), again=again)
        self.claim(place)
        self.submit(self.placing(question), Terms(), again=again)
        if courier:
            self.take_in(courier, question, again=again)
        if sweeps == "before":
            self.sweep(again=again)
        self.do(self.add, lambda: setattr(self.model, "removed", False), again=again)
        self.submit(self.placing(question), Terms(), again=again)
        if sweeps == "after":
            self.sweep(again=again)

    def sweep(self, *, again: bool) -> None:
        self.do(self.records.sweep, lambda: upkeep.sweep(self.model), again=again)

    def add(self) -> None:
        self.records.add_model()

    @rule(place=places, at=pick, again=again)
    def renew(self, place: str, at: int, again: bool) -> None:
        """Some of a worker's claims; it never heard of others, and of some not that they were lost."""
        self.keep_leases(self.name(place), *self.claims[-1 - at % 8 :], again=again)

    @rule(
        seconds=spans,
        keeps=st.sampled_from((True, True, False)),
        looks=st.sampled_from((True, True, False)),
        again=again,
    )
    def time_passes(self, seconds: int, keeps: bool, looks: bool, again: bool) -> None:
        """Workers renew and maintenance looks, or not."""
        self.advance(seconds * 1000)
        if keeps:
            self.all_keep_leases(again=again)
        if looks:
            self.maintain(again=again)

    @precondition(lambda self: self.model.waiting(LANE))
    @rule(place=places, seconds=st.sampled_from((STEP_S, 2 * STEP_S)))
    def fail_after_fail(self, place: str, seconds: int) -> None:
        for _ in range(2):
            if claim := self.claim(place):
                self.put_back(claim, FAILURE)
            self.advance(seconds * 1000)
            self.maintain()

    def die(self, place: str) -> None:
        """A worker vanishes; the others go on, and maintenance notices."""
        name = self.name(place)
        self.names[place] = f"{place}-{int(name.partition('-')[2]) + 1}"
        for _ in range(4):
            self.advance(8 * STEP_S * 1000)
            self.all_keep_leases()
            self.maintain()

    @rule(place=places | st.just("courier"), count=st.integers(0, 4), times=st.sampled_from((1, 1, 2, 3)))
    def lose_workers(self, place: str, count: int, times: int) -> None:
        """One dies with what it has, and so do those that take it up."""
        for _ in range(times):
            for _ in range(count):
                self.claim(place)
            self.die(place)
