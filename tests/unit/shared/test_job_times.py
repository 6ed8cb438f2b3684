"""A job's times: what cannot be kept is refused before anything is queued."""

import pytest

from shared.job import FURTHEST_S, Times
from tests.support.refusal import refusal

NOW = 1_900_000_000_000


@pytest.mark.parametrize(
    "times",
    [
        Times(),
        Times(schedule_at=NOW - 1),
        Times(schedule_at=NOW + 5, start_by=NOW + 6, finish_by=NOW + 6),
        Times(start_by=NOW + 1, finish_by=NOW + FURTHEST_S * 1000),
    ],
)
def test_times_that_can_be_kept_are_taken(times: Times) -> None:
    times.check(NOW)


@pytest.mark.parametrize(
    ("times", "param"),
    [
        (Times(start_by=NOW), "start_by"),
        (Times(finish_by=NOW - 1), "finish_by"),
        (Times(schedule_at=NOW + 5, start_by=NOW + 5), "start_by"),
        (Times(schedule_at=NOW + 5, finish_by=NOW + 4), "finish_by"),
        (Times(start_by=NOW + 5, finish_by=NOW + 4), "finish_by"),
        (Times(schedule_at=NOW + FURTHEST_S * 1000 + 1), "schedule_at"),
    ],
)
def test_times_that_contradict_the_clock_or_each_other_are_refused(times: Times, param: str) -> None:
    assert refusal(times.check, NOW) == ("invalid_request", param)
