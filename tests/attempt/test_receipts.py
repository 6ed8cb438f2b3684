"""What a receipt tells of an answer is what made it."""

from collections.abc import Sequence
from dataclasses import replace

from tests.support.attempt_harness import MODEL, WorkerHarness
from worker.engines.base import Finish, ModelFacts, Row
from worker.engines.echo import EchoEngine


class Drawing(EchoEngine):
    """Draws where nobody says otherwise, and remembers with which seeds."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.seeds: list[int | None] = []

    @property
    def facts(self) -> ModelFacts:
        return replace(super().facts, samples=True)

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        self.seeds += [row.parameters.seed for row in rows]
        return super().generate_all(rows)


def test_a_receipt_tells_the_engine_and_the_parameters_in_effect(harness: WorkerHarness) -> None:
    job = harness.ask("one two three", seed=5, stop=("x",))
    harness.attempt()
    result = harness.result(job)
    assert result.origin is not None
    assert result.origin.made_of["engine"] == "echo"
    assert result.origin.made_of["max_side"] is None
    assert result.origin.parameters == {"seed": 5, "stop": ["x"], "max_new_tokens": 512}


def test_who_named_no_seed_is_told_the_one_that_gives_the_answer_again(harness: WorkerHarness) -> None:
    engine = Drawing()
    job = harness.ask("one two three")
    harness.attempt(engine)
    result = harness.result(job)
    assert result.origin is not None
    assert engine.seeds == [result.origin.parameters["seed"]]
    assert 0 <= result.origin.parameters["seed"] < 2**48


def test_the_next_attempt_throws_the_same_dice(harness: WorkerHarness) -> None:
    first, second = Drawing(), Drawing()
    harness.ask("FAIL once")
    harness.attempt(first)
    harness.attempt(second)
    assert first.seeds == second.seeds != [None]


def test_no_seed_is_made_up_where_nothing_is_drawn_or_a_seed_says_nothing(harness: WorkerHarness) -> None:
    unsure = Drawing()
    unsure.repeatable = False
    harness.ask("one two")
    harness.attempt(unsure)
    greedy = Drawing()
    job = harness.ask("one two three", temperature=0.0)
    harness.attempt(greedy)
    result = harness.result(job)
    assert (unsure.seeds, greedy.seeds) == ([None], [])
    assert result.origin is not None
    assert "seed" not in result.origin.parameters
