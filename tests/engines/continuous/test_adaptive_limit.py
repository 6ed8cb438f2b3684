"""A moment without memory costs a worker's callers no more than that moment."""

from itertools import count, pairwise

import pytest

from worker.engines.continuous.adaptive_limit import MOST_PATIENCE, PATIENCE, AdaptiveLimit


def last(ration: AdaptiveLimit, times: int, used: int | None = None) -> list[int]:
    """The limits after each use of `used`, or of all that is allowed."""
    limits = []
    for _ in range(times):
        ration.lasted(ration.now if used is None else used)
        limits.append(ration.now)
    return limits


def test_what_a_moment_took_comes_back_and_no_more() -> None:
    rows = AdaptiveLimit(4)
    rows.shrink(2)
    assert last(rows, PATIENCE) == [2] * (PATIENCE - 1) + [3]
    assert last(rows, PATIENCE) == [3] * (PATIENCE - 1) + [4]
    assert set(last(rows, 3 * PATIENCE)) == {4}


def test_at_least_one_row_is_left() -> None:
    rows = AdaptiveLimit(4)
    for now, left in ((2, 2), (3, 2), (0, 1)):
        rows.shrink(now)
        assert rows.now == left


def test_what_was_halved_is_doubled_and_grows_beyond_an_odd_beginning_no_more() -> None:
    held = AdaptiveLimit(10, doubles=True)
    held.shrink(3)
    assert [last(held, PATIENCE)[-1] for _ in range(3)] == [6, 10, 10]


@pytest.mark.parametrize(("doubles", "too_few"), [(False, 2), (True, 1)])
def test_a_quiet_hour_says_nothing_about_a_busy_one(doubles: bool, too_few: int) -> None:
    """Else the next full batch fails, as the last one did."""
    rows = AdaptiveLimit(8, doubles=doubles)
    rows.shrink(3)
    assert set(last(rows, 10 * PATIENCE, too_few)) == {3}
    assert last(rows, PATIENCE, too_few + 1)[-1] > 3


def test_memory_that_stays_short_is_tried_ever_more_rarely() -> None:
    """Each try that comes too early costs somebody a prompt's time."""
    rows, failures = AdaptiveLimit(4), list[int]()
    for use in range(100 * PATIENCE):
        if rows.now == 4:
            failures.append(use)
            rows.shrink(3)
        else:
            rows.lasted(rows.now)
    waits = [later - earlier for earlier, later in pairwise(failures)]
    assert waits == [PATIENCE * 2**number + 1 for number in range(len(waits))]
    assert len(waits) == 6


def test_a_week_without_memory_is_not_waited_for_as_long_again() -> None:
    rows, waits = AdaptiveLimit(2), list[int]()
    for _ in range(10):
        rows.shrink(1)
        waits.append(next(uses for uses in count(1) if rows.lasted(1)))
    assert waits[-3:] == [MOST_PATIENCE] * 3


def test_once_more_has_lasted_the_rest_comes_back_sooner() -> None:
    rows = AdaptiveLimit(8)
    rows.shrink(2)
    for wait in (1, 2, 4):
        last(rows, wait * PATIENCE)
        rows.shrink(2)
    limits = last(rows, 32 * PATIENCE)
    assert [round(limits.count(now) / PATIENCE) for now in range(2, 8)] == [8, 8, 4, 2, 1, 1]


def test_an_earlier_shortage_is_forgotten_once_all_has_lasted() -> None:
    rows = AdaptiveLimit(2)
    for wait in (1, 2, 4):
        rows.shrink(1)
        assert last(rows, wait * PATIENCE)[-2:] == [1, 2]
    last(rows, 8 * PATIENCE)
    rows.shrink(1)
    assert last(rows, PATIENCE)[-2:] == [1, 2]
