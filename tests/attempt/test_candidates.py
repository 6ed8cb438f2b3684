"""Who asks for several answers gets each of them whole, over a worker's death as well."""

from collections.abc import Sequence

import pytest

from shared.errors import CallerError
from shared.result import Piece, logprobs_of
from shared.store.claims import append
from tests.support.attempt_harness import MODEL, WorkerHarness
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.echo import EchoEngine


class Watched(EchoEngine):
    """Remembers the rows it was given, and how it was given them."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.asked: list[Row] = []
        self.together: list[int] = []

    def generate(self, row: Row) -> Finish:
        self.asked.append(row)
        return super().generate(row)

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        self.together.append(len(rows))
        return super().generate_all(rows)


def texts(harness: WorkerHarness, job: str) -> dict[int | None, str]:
    """What readers have of each answer, after checking that it has neither gap nor repeat."""
    found: dict[int | None, str] = {}
    for event in harness.events(job):
        if event.type == "text":
            choice = event.data.get("choice")
            assert event.data["start"] == len(found.get(choice, ""))
            found[choice] = found.get(choice, "") + event.data["text"]
    return found


def test_every_answer_is_told_and_kept_and_the_prompt_is_counted_once(harness: WorkerHarness) -> None:
    job = harness.ask("one two three", n=3, temperature=1.0, seed=5, logprobs=1)
    engine = Watched()
    harness.attempt(engine)
    view = harness.job(job)
    assert view.result is not None
    assert [c.text for c in view.result.choices] == ["one two three"] * 3
    assert [len(c.logprobs or ()) for c in view.result.choices] == [3] * 3
    assert (view.result.usage.prompt_tokens, view.result.usage.completion_tokens) == (3, 9)
    assert texts(harness, job) == dict.fromkeys(range(3), "one two three")
    assert engine.together == [3], "the engine was not told that they belong together"
    assert len({id(row.prompt) for row in engine.asked}) == 1
    seeds = [row.parameters.seed for row in engine.asked]
    assert (seeds[0], len(set(seeds))) == (5, 3)


def test_answers_that_can_only_be_the_same_are_computed_once(harness: WorkerHarness) -> None:
    job = harness.ask("one two three", n=4, logprobs=0)
    engine = Watched()
    harness.attempt(engine)
    result = harness.result(job)
    assert len(engine.asked) == 1
    assert [c.text for c in result.choices] == ["one two three"] * 4
    assert texts(harness, job) == dict.fromkeys(range(4), "one two three")
    told = [e.data for e in harness.events(job) if e.type == "text"]
    assert all(logprobs_of(data) for data in told)
    assert result.usage.completion_tokens == 12


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_the_next_attempt_goes_on_with_each_answer_where_its_readers_are(
    harness: WorkerHarness, temperature: float | None
) -> None:
    job = harness.ask("one two three four", n=3, temperature=temperature, seed=3)
    dead = harness.claim()
    harness.store.run(append(dead, Piece(0, "one two", (0, 1), choice=0)))
    if temperature:
        harness.store.run(append(dead, Piece(0, "one", (0,), choice=2)))
    harness.give_up()
    harness.attempt()
    view = harness.job(job)
    assert view.result is not None
    assert [c.text for c in view.result.choices] == ["one two three four"] * 3
    assert texts(harness, job) == dict.fromkeys(range(3), "one two three four")
    assert view.result.usage.completion_tokens == 12


def test_copies_that_were_told_before_a_worker_died_are_not_told_twice(harness: WorkerHarness) -> None:
    job = harness.ask("one two", n=3)
    dead = harness.claim()
    for choice in (0, 1):
        harness.store.run(append(dead, Piece(0, "one two", (0, 1), choice=choice)))
    harness.give_up()
    harness.attempt()
    assert harness.job(job).status == "succeeded"
    assert texts(harness, job) == dict.fromkeys(range(3), "one two")


def test_one_answer_that_cannot_be_given_fails_the_job_with_its_reason(harness: WorkerHarness) -> None:
    class Failing(Watched):
        def generate(self, row: Row) -> Finish:
            if self.asked:
                raise CallerError("invalid_request", "The format cannot be kept up.", param="format")
            return super().generate(row)

    job = harness.ask("one two", n=3, temperature=1.0)
    harness.attempt(Failing())
    view = harness.job(job)
    assert view.error is not None
    assert (view.error.code, view.error.param, view.result) == ("invalid_request", "format", None)
    assert harness.claim_if_any() is None


def test_a_job_that_is_cancelled_in_its_second_answer_tells_no_more(harness: WorkerHarness) -> None:
    class Leaving(Watched):
        def generate(self, row: Row) -> Finish:
            if self.asked:
                harness.cancel(job)
                row.cancel.set()
                raise Cancelled
            return super().generate(row)

    job = harness.ask("one two", n=2, temperature=1.0)
    harness.attempt(Leaving())
    assert harness.job(job).status == "cancelled"
    assert harness.job(job).result is None
