"""Rows get in by the order in which they came, and nobody waits outside an empty engine."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clients import until
from worker.engines.base import Cancelled
from worker.engines.row_limit import RowLimit


def test_rows_get_in_by_the_order_in_which_they_came() -> None:
    gate, order = RowLimit(1), list[int]()
    cancel = threading.Event()

    def enter(number: int) -> None:
        with gate.enter(cancel):
            order.append(number)

    with ThreadPoolExecutor(5) as pool, gate.enter(cancel):
        for number in range(5):
            pool.submit(enter, number)
            until(lambda number=number: len(gate._waiting) == number + 1)  # type: ignore[misc]
    assert order == [0, 1, 2, 3, 4]


def test_a_row_cancelled_outside_gives_its_turn_to_the_next() -> None:
    gate, cancel, kept = RowLimit(1), threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        with gate.enter(kept):
            gone = pool.submit(lambda: gate.enter(cancel).__enter__())
            until(lambda: len(gate._waiting) == 1)
            cancel.set()
            with pytest.raises(Cancelled):
                gone.result()
        with gate.enter(kept):
            assert gate.idle_s() >= 0
    assert (len(gate._waiting), gate.idle_s()) == (0, 0)
