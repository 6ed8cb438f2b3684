"""How rows, prompts and memory are shared out: the line, limits, how much of prompts is computed at once."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.engines import suite
from tests.engines.continuous.conftest import engine_of, noted
from worker.engines.continuous.prefill import TILE
from worker.engines.continuous.scheduler import (
    FIRST,
    OFTEN,
    PATIENCE,
    SMALLEST,
    BatchCapacity,
    Pace,
    WaitingQueue,
)


def answer(arrived: float = 0.0, *, begun: bool = False, length: int = 0, alone: bool = False) -> Any:
    row = SimpleNamespace(arrived=arrived)
    return SimpleNamespace(row=row, begun=begun, length=length, alone=alone)


def test_who_arrived_earlier_and_joins_while_the_first_is_taken_is_not_taken_in_its_place() -> None:
    line, later, earlier = WaitingQueue(), answer(2.0), answer(1.0)
    line.join([later])
    [first] = line.waiting()
    line.join([earlier])
    assert not line.take(first)
    assert line.waiting() == [earlier, later]
    assert [line.take(one) for one in (earlier, later, later)] == [True, True, False]


def test_the_answers_to_one_prompt_stay_together_and_what_was_put_back_stays_before_all() -> None:
    line, back = WaitingQueue(), answer(9.0, begun=True)
    line.put_back([back])
    wide, single, late = [answer(2.0) for _ in range(3)], answer(1.0), answer(3.0)
    for joining in (wide, [late], [single]):
        line.join(joining)
    assert line.waiting() == [back, single, *wide, late]


def test_rows_and_their_longest_answer_bound_the_cache() -> None:
    small = BatchCapacity(rows=3, tokens=1000)

    def admits(*lengths: int, **how: Any) -> bool:
        return small.admits(answer(length=lengths[0], **how), [answer(length=one) for one in lengths[1:]])

    assert admits(2000), "alone it was admitted when it was prepared"
    assert admits(500, 10)
    assert not admits(501, 10), "all rows are as wide as the widest"
    assert not admits(*[10] * 4)
    assert not admits(10, 10, alone=True)


def test_an_operator_reads_how_many_rows_memory_is_left_for_and_they_come_back_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capacity, rows = BatchCapacity(rows=4, tokens=1000), list[int]()
    for spared in (True, True, False):
        capacity.ran_out(capacity.rows - 1, spared=spared)
        rows.append(capacity.rows)
    for _ in range(3):
        for _ in range(PATIENCE):
            capacity.lasted()
        rows.append(capacity.rows)
    assert rows == [4, 3, 2, 3, 4, 4], "the first time what was spared is enough"
    assert caplog.messages == [f"rows are now {left} of 4" for left in (3, 2)]


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_prompts_take_as_long_as_the_steps_others_may_wait() -> None:
    pace = Pace(2, clock := Clock())
    assert pace.tokens == FIRST
    pace.stepped(1, 0.1)
    pace.computed(100, 0.2)
    assert (pace.tokens, pace.over) == (100, False)
    clock.now += 0.1
    assert (pace.tokens, pace.over) == (50, False)
    clock.now += 0.1
    assert (pace.tokens, pace.over) == (SMALLEST, True)
    pace.turn(1)
    assert (pace.tokens, pace.over) == (100, False)


def test_chunks_are_sized_for_a_step_with_all_that_wait_and_by_what_any_pass_costs() -> None:
    """Sized for the few rows of now, they would be small, and each read all weights once more."""
    pace = Pace(2, Clock())
    for rows in (1, 2, 4, 3):
        pace.stepped(rows, 0.06 + 0.01 * rows)
    for tokens in (100, 400, 200):
        pace.computed(tokens, 0.05 + 0.001 * tokens)
    pace.turn(14)
    assert pace.tokens == pytest.approx((2 * 0.2 - 0.05) / 0.001, rel=0.05)
    pace.turn(1)
    assert pace.tokens == pytest.approx((2 * 0.07 - 0.05) / 0.001, rel=0.1)
    assert pace.enough == pytest.approx(256, abs=60)


def test_the_time_of_one_more_prompt_is_that_of_its_media_and_tokens_as_lately() -> None:
    pace = Pace(2, Clock())
    assert pace.prompt_s == 0
    pace.computed(100, 0.2)
    pace.begun(0.3)
    pace.arrived(1000)
    assert pace.prompt_s == pytest.approx(0.3 + 1000 * 0.002)


def test_steps_take_prompts_along_once_both_are_measured_and_are_measured_again_now_and_then() -> None:
    pace = Pace(2, Clock())
    assert not pace.mixes()
    pace.computed(100, 0.2)
    pace.stepped(1, 0.1)
    assert [pace.mixes() for _ in range(OFTEN)] == [True] * (OFTEN - 1) + [False]
    pace.stepped(1, 0.1)
    assert pace.mixes()
    pace.separate()
    assert not pace.mixes()


class Planned:
    """Stands for a prompt of `length` tokens; a `whole` one may be cut nowhere."""

    done = pause = 0

    def __init__(self, length: int, *, whole: bool = False) -> None:
        self.length, self.whole = length, whole

    def end(self, tokens: int) -> int:
        return self.length if self.whole else min(self.length, tokens)


@pytest.mark.parametrize(
    ("decoding", "waiting", "ends"),
    [
        (True, [Planned(400), Planned(70)], [111]),
        (True, [Planned(80), Planned(70), Planned(90)], [80, 31]),
        (True, [Planned(115)], [115]),
        (True, [Planned(80), Planned(400, whole=True), Planned(10)], [80]),
        (True, [Planned(400, whole=True), Planned(10)], [400]),
        (False, [Planned(400), Planned(70)], [400]),
        (False, [Planned(80), Planned(90), Planned(100), Planned(60)], [80, 90, 100]),
    ],
    ids=["part", "the next one's part", "no scraps", "in order", "the first", "nobody waits", "enough"],
)
def test_a_pass_takes_prompts_in_their_order_and_the_first_in_any_case(
    fresh: suite.Harness,
    monkeypatch: pytest.MonkeyPatch,
    decoding: bool,
    waiting: list[Any],
    ends: list[int],
) -> None:
    loop: Any = engine_of(fresh)._loop
    # What would begin another tile, with the row that decodes, waits.
    monkeypatch.setattr(Pace, "tokens", 7 * TILE + 7)
    monkeypatch.setattr(loop, "_running", [answer()] * decoding)
    monkeypatch.setattr(loop, "_prefilling", {object(): prompt for prompt in waiting})
    assert [end for *_, end in loop._chunks()] == ends


@pytest.mark.parametrize("over", [True, False])
def test_who_decodes_waits_for_no_further_prompt_once_the_time_is_over(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch, *, over: bool
) -> None:
    loop: Any = engine_of(fresh)._loop
    monkeypatch.setattr(Pace, "over", over)
    monkeypatch.setattr(loop, "_running", [answer()])
    monkeypatch.setattr(loop, "_prefilling", {object(): Planned(20)})
    begun = noted(monkeypatch, loop._line, "waiting")
    assert len(loop._chunks()) == 1
    assert bool(begun) is not over
