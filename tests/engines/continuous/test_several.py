"""Several answers to one prompt: it is computed once for all of them, and each is what it would be alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import pytest

from shared.result import Piece
from tests.engines import several, suite
from tests.engines.continuous.conftest import (
    QUESTIONS,
    ROWS,
    Question,
    asks,
    crowd,
    engine_of,
    fail,
    scarce,
    started,
    strangers,
)
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.adaptive_limit import AdaptiveLimit
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.token_budget import PassLimits, PrefillPace
from worker.engines.loading.loaded import LoadedModel

LONG: dict[str, Any] = {"max_new_tokens": 30, "min_new_tokens": 30}


@pytest.fixture(scope="module")
def forgetful(shipped: LoadedModel) -> suite.Harness:
    """Nothing that was computed for one request is kept for others."""
    return started(shipped, options={"reuse_mb": 0})


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass over a prompt took in."""
    advance, passes = Prefill.advance, list[int]()

    def counted(self: Prefill, tokens: int | None = None) -> Any:
        before = self.done
        prefilled = advance(self, tokens)
        passes.append(self.done - before)
        return prefilled

    monkeypatch.setattr(Prefill, "advance", counted)
    return passes


def seen(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each time that a picture is encoded."""
    base = engine_of(harness)._loaded.network.base_model
    encode, calls = base.get_image_features, list[int]()

    @wraps(encode)
    def counted(*args: Any, **named: Any) -> Any:
        calls.append(1)
        return encode(*args, **named)

    monkeypatch.setattr(base, "get_image_features", counted)
    return calls


def alone(harness: suite.Harness, rows: Sequence[Row]) -> list[Finish]:
    return [harness.engine.generate(row) for row in rows]


@pytest.mark.parametrize("n", [2, ROWS, 2 * ROWS])
def test_a_prompt_and_its_picture_are_computed_once_however_many_answers_and_rows_there_are(
    forgetful: suite.Harness, computed: list[int], monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    encoded, asked = seen(forgetful, monkeypatch), several.rows(forgetful, n)
    finishes = forgetful.engine.generate_all(asked)
    assert computed == [asked[0].prompt.tokens]
    assert len(encoded) == 1
    assert len({finish.ids for finish in finishes}) == n, "each has dice of its own"


def test_answers_that_share_a_prompt_count_as_one_request(fresh: suite.Harness) -> None:
    finishes = fresh.engine.generate_all(several.rows(fresh))
    counts = fresh.engine.reused
    assert counts is not None
    assert (counts.prompts, counts.hits) == (1, 0)
    assert finishes[0].cached_tokens == 0


def test_two_requests_for_more_answers_than_there_are_rows_are_both_answered(
    harness: suite.Harness,
) -> None:
    asked = [several.rows(harness, 2 * ROWS, seed=seed, **LONG) for seed in (1, 2)]
    expected = [alone(harness, rows) for rows in asked]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(harness.engine.generate_all, asked)) == expected
    assert engine_of(harness)._loop._prefilling.forked is None, (
        "a prompt stays in memory that nobody waits for"
    )


def test_several_answers_and_others_in_the_crowd_do_not_change_each_other(
    harness: suite.Harness, answers: list[Finish]
) -> None:
    got: list[list[Finish]] = []
    asked = several.rows(harness, 3, **LONG)
    expected = alone(harness, asked)

    def ask_several() -> Finish:
        got.append(harness.engine.generate_all(asked))
        return got[0][0]

    singles = asks(harness, strangers(QUESTIONS, "beside several"))
    futures = crowd(harness, [*singles[:3], ask_several, *singles[3:]])
    futures.pop(3)
    assert [future.result() for future in futures] == answers
    assert got == [expected]


def test_a_prompt_is_computed_once_though_a_longer_one_is_done_while_its_answers_wait(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are rows for one of them, beside somebody whose prompt began before theirs and ends behind it."""
    made, init = list[Prefill](), Prefill.__init__

    def noted(self: Prefill, *given: Any, **named: Any) -> None:
        made.append(self)
        init(self, *given, **named)

    monkeypatch.setattr(Prefill, "__init__", noted)
    monkeypatch.setattr(PrefillPace, "limits", lambda *_, **__: PassLimits(tokens=4096, idle=4096, chunk=20))
    monkeypatch.setattr(engine_of(forgetful)._loop._capacity, "_rows", AdaptiveLimit(2))
    longer, asked = Question(2, LONG), several.rows(forgetful, 3)
    crowd(forgetful, [lambda: longer.ask(forgetful), lambda: forgetful.engine.generate_all(asked)[0]])
    assert len(made) == 2


def test_a_prompt_is_computed_once_though_somebody_comes_before_the_rest_of_its_answers(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose pictures took longer, but who was claimed earlier."""
    made, init, loop = list[Prefill](), Prefill.__init__, engine_of(forgetful)._loop
    asked = [replace(row, arrived=2.0) for row in several.rows(forgetful, 3)]
    (other,) = (replace(row, arrived=1.0) for row in several.rows(forgetful, 1))
    other = replace(other, prompt=forgetful.row("Another question.", [], **several.DRAWN).prompt)

    def noted(self: Prefill, *given: Any, **named: Any) -> None:
        made.append(self)
        if len(made) == 1:
            futures.append(pool.submit(forgetful.engine.generate_all, [other]))
            until(lambda: any(one.row is other for one in loop._line.waiting()))
        init(self, *given, **named)

    futures = list[Any]()
    monkeypatch.setattr(Prefill, "__init__", noted)
    monkeypatch.setattr(loop._capacity, "_rows", AdaptiveLimit(2))
    with ThreadPoolExecutor(1) as pool:
        forgetful.engine.generate_all(asked)
        futures[0].result()
    assert len(made) == 2


def test_answers_taken_out_for_want_of_memory_go_on_and_the_prompt_they_shared_is_let_go(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(forgetful, several.rows(forgetful, 2 * ROWS))
    shared, loop = list[bool](), engine_of(forgetful)._loop

    def missing(_: Batch, tokens: list[int], *__: Any) -> bool:
        if first := len(tokens) == ROWS and not shared:
            shared.append(loop._prefilling.forked is not None)
        return first

    scarce(monkeypatch, Batch, "mixed_step", missing)
    assert forgetful.engine.generate_all(several.rows(forgetful, 2 * ROWS)) == expected
    assert shared == [True]
    assert engine_of(forgetful)._loop._capacity.rows == ROWS, "the shared prompt's memory was enough"


def test_answers_put_back_by_somebody_elses_fault_are_computed_again_and_the_same(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(forgetful, several.rows(forgetful, **LONG))
    failing = [True]

    def in_the_midst(running: RunningBatch, *_: Any) -> bool:
        together = len(running.answers) == 3 and len(running.answers[0].ids_fed) > 5
        return together and bool(failing) and failing.pop()

    fail(monkeypatch, RunningBatch, "step", IndexError("a moment's weakness"), in_the_midst)
    assert forgetful.engine.generate_all(several.rows(forgetful, **LONG)) == expected
    assert not failing


def test_who_was_claimed_first_does_not_wait_for_every_answer_of_a_later_request(
    harness: suite.Harness,
) -> None:
    """Its pictures took longer to prepare."""
    begun, joined, order = threading.Event(), threading.Event(), list[int]()

    def first_piece(_: Piece) -> None:
        begun.set()
        assert joined.wait(PATIENCE_S)

    def noted(at: int, _: Piece) -> None:
        order.append(at)

    wide = several.rows(harness, 3 * ROWS, **LONG)
    wide = [replace(row, arrived=2.0, emit=partial(noted, at)) for at, row in enumerate(wide)]
    wide[0] = replace(wide[0], emit=first_piece)
    single = harness.row("Tell 1.", [], emit=partial(noted, -1), seed=1)
    line = engine_of(harness)._loop._line
    with ThreadPoolExecutor(2) as pool:
        later = pool.submit(harness.engine.generate_all, wide)
        assert begun.wait(PATIENCE_S)
        earlier = pool.submit(harness.engine.generate, replace(single, arrived=1.0))
        until(lambda: any(answer.row.arrived == 1.0 for answer in line.waiting()))
        joined.set()
        assert earlier.result().ids
        assert len(later.result()) == len(wide)
    assert order.index(-1) < order.index(ROWS)


def test_who_leaves_takes_all_answers_along_also_those_that_wait_for_a_row(harness: suite.Harness) -> None:
    loop = engine_of(harness)._loop
    rows = several.rows(harness, 3 * ROWS, **LONG)
    asked = [replace(row, emit=lambda _: rows[0].cancel.set()) for row in rows]
    with pytest.raises(Cancelled):
        harness.engine.generate_all(asked)
    until(lambda: not (loop._running.answers or loop._line.head()))
    assert loop._prefilling.forked is None
    assert Question(1, {"seed": 1}).ask(harness).ids


def test_a_prompt_that_several_share_is_let_go_once_and_memory_is_there_again(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it kept, the step would fail for want of the same memory for ever, and nobody be answered."""
    expected = alone(forgetful, several.rows(forgetful, 2 * ROWS))
    failed, prefilling = list[int](), engine_of(forgetful)._loop._prefilling

    def missing(_: Batch, tokens: list[int], *__: Any) -> bool:
        if few := prefilling.forked is not None and len(tokens) == ROWS and len(failed) < 9:
            failed.append(len(tokens))
        return few

    scarce(monkeypatch, Batch, "mixed_step", missing)
    assert forgetful.engine.generate_all(several.rows(forgetful, 2 * ROWS)) == expected
    # Where steps compute no prompts, a prompt may be computed once more for the second four.
    assert 1 <= len(failed) <= (1 if prefilling.mixes else 2)
