"""Estimates: what a caller is told rests on what was measured, and says so."""

import pytest

from shared.estimate import Lane, estimate, loading_time, waiting_reason
from shared.job import Estimate


def lane(**facts: object) -> Lane:
    return Lane(**{"ready": 0, "loading": 0, "queued": 0, "running": 0, "now_ms": 100_000, **facts})  # type: ignore[arg-type]


READY = {"ready": 1, "service_ms": 2000.0}


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        ({}, "no_worker", "no_worker"),
        ({"loading": 1}, "loading", "model_loading"),
        ({"ready": 1}, "ready", "busy"),
        ({"ready": 1, "loading": 1}, "ready", "busy"),
        ({"ready": 1, "failed": "no memory"}, "ready", "busy"),
        ({"failed": "no memory", "failed_ms": 90_000}, "failed", "no_worker"),
        (
            {"loading": 1, "failed": "x", "failed_ms": 90_000, "load_started_ms": 80_000},
            "failed",
            "model_loading",
        ),
        (
            {"loading": 1, "failed": "x", "failed_ms": 90_000, "load_started_ms": 95_000},
            "loading",
            "model_loading",
        ),
    ],
)
def test_a_caller_learns_why_it_waits(facts: dict[str, object], state: str, reason: str) -> None:
    assert (lane(**facts).state, waiting_reason(lane(**facts), placed=True)) == (state, reason)


def test_a_job_whose_pictures_are_fetched_says_so_whatever_its_model_does() -> None:
    assert waiting_reason(lane(ready=1), placed=False) == "fetching_inputs"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ready": 1, "load_ms": 9000.0}, (0.0, "measured")),
        ({"loading": 1, "load_started_ms": 97_000.0, "load_ms": 9000.0}, (6.0, "measured")),
        ({"loading": 1, "load_started_ms": 90_000.0, "load_ms": 9000.0}, (1.0, "measured")),
        (
            {"loading": 1, "load_started_ms": 97_000.0, "load_guess_ms": 8000.0, "load_basis": "rate"},
            (5.0, "rate"),
        ),
        ({"loading": 1, "load_ms": 9000.0, "load_guess_ms": 80.0, "load_basis": "rate"}, (9.0, "measured")),
        ({"loading": 1}, (4.0, "guess")),
        ({"load_ms": 9000.0}, (9.0, "no_worker")),
        ({"load_ms": 90.0}, (1.0, "no_worker")),
        ({}, (4.0, "guess")),
    ],
)
def test_loading_takes_what_it_took_less_what_has_passed(
    facts: dict[str, object], expected: tuple[float, str]
) -> None:
    assert loading_time(lane(**facts), fallback_s=4.0) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({**READY, "ahead": 0}, Estimate(2.0, 3.0, "measured")),
        ({**READY, "ahead": 0, "running": 1}, Estimate(3.0, 4.5, "measured")),
        ({**READY, "ahead": 0, "running": 3}, Estimate(7.0, 10.5, "measured")),
        ({**READY, "ahead": 3, "running": 1}, Estimate(9.0, 13.5, "measured")),
        ({**READY, "ahead": 0, "running": 1, "ready": 2}, Estimate(2.0, 3.0, "measured")),
        ({**READY, "ahead": 3, "running": 2, "ready": 2}, Estimate(5.5, 8.25, "measured")),
        ({**READY, "ahead": 6, "running": 8, "ready": 2, "rows": 3}, Estimate(4.833, 7.25, "measured")),
        ({"ready": 1, "ahead": 0}, Estimate(1.0, 1.5, "guess")),
        (
            {"loading": 1, "load_ms": 9000.0, "service_ms": 500.0, "ahead": 1},
            Estimate(10.0, 20.0, "measured"),
        ),
        ({"load_ms": 9000.0, "service_ms": 500.0, "ahead": 1}, Estimate(10.0, 20.0, "no_worker")),
    ],
)
def test_the_wait_is_loading_and_turns_at_the_measured_pace(
    facts: dict[str, object], expected: Estimate
) -> None:
    assert estimate(lane(**facts)) == expected


def test_a_running_job_is_one_turn_from_its_end() -> None:
    assert estimate(lane(**READY, queued=50)) == Estimate(2.0, 3.0, "measured")


def test_claimed_runs_that_wait_for_a_row_are_served_first() -> None:
    assert lane(**READY, ahead=2, running=3).served_first == 4


def test_more_workers_never_make_the_estimate_longer() -> None:
    waits = [estimate(lane(**{**READY, "ready": n}, ahead=10)).p50 for n in range(1, 6)]
    assert waits == sorted(waits, reverse=True)
