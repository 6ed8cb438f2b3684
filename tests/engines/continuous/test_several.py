"""Several answers to one prompt: it is computed once for all of them, and each is what it would be alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.engines import several, suite
from tests.engines.continuous.conftest import (
    QUESTIONS,
    ROWS,
    Question,
    asks,
    crowd,
    engine_of,
    noted,
    shown_to_encoder,
    started,
    strangers,
)
from tests.support.clients import until
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.prefill import Prefill
from worker.engines.loading.loaded import LoadedModel

LONG: dict[str, Any] = {"max_new_tokens": 30, "min_new_tokens": 30}


@pytest.fixture(scope="module")
def forgetful(shipped: LoadedModel) -> suite.Harness:
    """Nothing that was computed for one request is kept for others."""
    return started(shipped, options={"reuse_mb": 0})


def alone(harness: suite.Harness, rows: Sequence[Row]) -> list[Finish]:
    return [harness.engine.generate(row) for row in rows]


@pytest.mark.parametrize("n", [2, ROWS, 2 * ROWS])
def test_a_prompt_and_its_picture_are_computed_once_however_many_answers_and_rows_there_are(
    forgetful: suite.Harness, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    encoded = shown_to_encoder(forgetful, monkeypatch)
    begun = noted(monkeypatch, Prefill, "take", lambda prefill, *_: prefill.done)
    finishes = forgetful.engine.generate_all(several.rows(forgetful, n))
    assert (begun, encoded) == ([0], [1])
    assert len({finish.ids for finish in finishes}) == n, "each has dice of its own"


def test_answers_that_share_a_prompt_count_as_one_request(fresh: suite.Harness) -> None:
    finishes = fresh.engine.generate_all(several.rows(fresh))
    assert finishes[0].cached_tokens == 0


def test_two_requests_for_more_answers_than_there_are_rows_are_both_answered(harness: suite.Harness) -> None:
    asked = [several.rows(harness, ROWS + 1, seed=seed) for seed in (1, 2)]
    expected = [alone(harness, rows) for rows in asked]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(harness.engine.generate_all, asked)) == expected


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


def test_who_leaves_takes_all_answers_along_also_those_that_wait_for_a_row(harness: suite.Harness) -> None:
    loop = engine_of(harness)._loop
    rows = several.rows(harness, 3 * ROWS, **LONG)
    asked = [replace(row, emit=lambda _: rows[0].cancel.set()) for row in rows]
    with pytest.raises(Cancelled):
        harness.engine.generate_all(asked)
    until(lambda: not (loop._everybody or len(loop._line)))
    assert Question(1, {"seed": 1}).ask(harness).ids
