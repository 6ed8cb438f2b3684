"""The line for rows, and how many rows there are."""

from types import SimpleNamespace
from typing import Any

import pytest

from worker.engines.continuous.scheduler import (
    PATIENCE,
    BatchCapacity,
    WaitingQueue,
)


def answer(arrived: float, *, begun: bool = False) -> Any:
    return SimpleNamespace(row=SimpleNamespace(arrived=arrived), begun=begun, length=0, alone=False)


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
