"""Rows get in by the order in which they came, and nobody waits outside an empty engine."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.clients import until
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
