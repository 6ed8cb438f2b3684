"""Estimates: what a caller is told rests on what was measured, and says so."""

import pytest

from api.admission.readiness import PAUSED_RETRY_S, model_state, queue_full
from shared.estimate import Lane, claimed_s, estimate, loading_time, waiting_reason
from shared.job import Estimate
from shared.models import Model


def lane(**facts: object) -> Lane:
    return Lane(**{"ready": 0, "loading": 0, "queued": 0, "running": 0, "now_ms": 100_000, **facts})  # type: ignore[arg-type]


GUESSED = {"load_guess_ms": 8000.0, "load_basis": "rate"}
READY = {"ready": 1, "service_ms": 2000.0}


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        ({}, "no_worker", "no_worker"),
        ({"loading": 1}, "loading", "model_loading"),
        ({"ready": 1}, "ready", "busy"),
        ({"ready": 1, "loading": 1}, "ready", "busy"),
        ({"ready": 1, "failed": "no memory"}, "ready", "busy"),
        ({"failed": "no memory"}, "failed", "no_worker"),
        ({"cold": 1}, "cold", "model_loading"),
        ({"cold": 1, "loading": 1}, "loading", "model_loading"),
        ({"cold": 1, "ready": 1}, "ready", "busy"),
        ({"cold": 1, "failed": "no memory"}, "failed", "model_loading"),
        ({"loading": 1, "failed": "no memory", "load_started_ms": 95_000}, "failed", "model_loading"),
    ],
)
def test_a_caller_learns_why_it_waits(facts: dict[str, object], state: str, reason: str) -> None:
    facts_now = lane(**facts)
    assert (facts_now.state, waiting_reason(facts_now, placed=True, state="queued")) == (state, reason)
    assert waiting_reason(facts_now, placed=False, state="queued") == "fetching_inputs"


@pytest.mark.parametrize(("state", "reason"), [("retrying", "retrying"), ("queued", "paused")])
def test_a_caller_learns_that_its_time_has_not_come(state: str, reason: str) -> None:
    assert waiting_reason(lane(ready=1, paused=True), placed=True, state=state) == reason


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ready": 1, "load_ms": 9000.0}, (0.0, "measured")),
        ({"loading": 1, "load_started_ms": 97_000.0, "load_ms": 9000.0}, (6.0, "measured")),
        ({"loading": 1, "load_started_ms": 90_000.0, "load_ms": 9000.0}, (2.5, "measured")),
        ({"loading": 1, "load_started_ms": 97_000.0} | GUESSED, (5.0, "rate")),
        ({"loading": 1, "load_ms": 9000.0} | GUESSED, (9.0, "measured")),
        ({"loading": 1}, (4.0, "guess")),
        ({"cold": 1, "load_in_ms": 3000.0, "load_ms": 9000.0}, (12.0, "measured")),
        ({"cold": 1, "load_ms": 90.0}, (1.0, "measured")),
        ({"cold": 1, "loading": 1, "load_in_ms": 3000.0, "load_ms": 9000.0}, (9.0, "measured")),
        ({"cold": 1}, (4.0, "guess")),
        ({"load_ms": 9000.0}, (9.0, "no_worker")),
        ({"load_ms": 90.0}, (1.0, "no_worker")),
        ({}, (4.0, "guess")),
    ],
)
def test_loading_takes_what_is_left_of_it(facts: dict[str, object], expected: tuple[float, str]) -> None:
    assert loading_time(lane(**facts), fallback_s=4.0) == expected


@pytest.mark.parametrize(
    ("facts", "p50", "basis"),
    [
        ({**READY, "ahead": 0}, 0.003, "measured"),
        ({**READY, "ahead": 0, "running": 1}, 1.0, "measured"),
        ({**READY, "ahead": 0, "running": 3}, 5.0, "measured"),
        ({**READY, "ahead": 3, "running": 1}, 7.0, "measured"),
        ({**READY, "ahead": 3}, 6.0, "measured"),
        ({**READY, "ahead": 0, "running": 1, "ready": 2}, 0.003, "measured"),
        ({**READY, "ahead": 0, "running": 2, "slots": 3}, 0.003, "measured"),
        ({**READY, "ahead": 1, "running": 3, "slots": 3}, 3.0, "measured"),
        ({**READY, "ahead": 6, "running": 8, "ready": 2, "rows": 3, "slots": 3}, 2.833, "measured"),
        ({**READY, "ahead": 0, "running": 1, "extra_running": 7, "rows": 8, "slots": 10}, 0.003, "measured"),
        ({**READY, "ahead": 0, "running": 2, "extra_running": 14, "rows": 8, "slots": 10}, 0.312, "measured"),
        ({**READY, "ahead": 2, "running": 1, "extra_running": 7, "rows": 4, "slots": 6}, 1.375, "measured"),
        ({"ready": 1, "ahead": 1}, 1.0, "guess"),
        ({"loading": 1, "load_ms": 9000.0, "service_ms": 500.0, "ahead": 1}, 9.5, "measured"),
        ({"load_ms": 9000.0, "service_ms": 500.0, "ahead": 1}, 9.5, "no_worker"),
    ],
)
def test_the_wait_is_loading_and_measured_turns(facts: dict[str, object], p50: float, basis: str) -> None:
    told = estimate(lane(**facts))
    assert (told.p50, told.basis) == (p50, basis)
    assert told.p90 >= told.p50


def test_what_was_learnt_of_earlier_waits_is_applied() -> None:
    told = estimate(lane(**READY, ahead=1, running=1, factors={"busy": (0.5, 1.5)}))
    assert told == Estimate(p50=1.5, p90=4.5, service_s=2.0, basis="measured")


@pytest.mark.parametrize(
    ("facts", "p50", "service_s"),
    [
        ({"ahead": 0}, 0.003, 2.0),
        ({"ahead": 0, "running": 2, "slots": 3}, 0.003, 4.997),
        ({"ahead": 4, "running": 3, "slots": 3}, 9.0, 6.0),
        ({"ahead": 4, "running": 6, "rows": 4, "slots": 6}, 2.25, 3.0),
        ({"ahead": 4, "running": 6, "rows": 4}, 4.75, 2.0),
    ],
)
def test_waiting_for_a_row_under_a_claim_is_part_of_what_a_job_takes(
    facts: dict[str, object], p50: float, service_s: float
) -> None:
    found = estimate(lane(**READY, **facts))
    assert (found.p50, found.service_s) == (p50, service_s)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"running": 1}, 2.0),
        # One computed, one that waits for half a turn.
        ({"running": 2}, 2.5),
        ({"running": 3, "slots": 3}, 3.333),
        ({"running": 6, "rows": 4, "slots": 6}, 2.167),
        ({"running": 2, "extra_running": 14, "rows": 8, "slots": 10}, 2.062),
    ],
)
def test_who_joins_a_claimed_run_is_told_their_average(facts: dict[str, object], told: float) -> None:
    assert claimed_s(lane(**READY, **facts)) == told


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ready": 1}, ("paused", PAUSED_RETRY_S, "paused")),
        ({"ready": 1, "draining": True}, ("draining", 0.0, "measured")),
        ({}, ("paused", PAUSED_RETRY_S, "paused")),
    ],
)
def test_only_who_is_told_that_a_model_is_paused_is_told_when_to_ask_again(
    facts: dict[str, object], expected: tuple[str, float, str]
) -> None:
    model = Model(id="m", engine="echo")
    state = model_state(model, lane(paused=True, **facts))
    assert (state.standing, state.estimated_time, state.basis) == expected


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, 4.0),
        ({"first_queued_ms": 98_000.0}, 4.0),
        ({"first_queued_ms": 70_000.0}, 30.0),
        ({"first_queued_ms": 70_000.0, "paused": True}, PAUSED_RETRY_S),
    ],
)
@pytest.mark.parametrize("word", ["full", "crowded"])
def test_who_is_refused_by_a_line_that_stands_is_not_told_to_come_back_at_once(
    word: str, facts: dict[str, object], told: float
) -> None:
    standing = lane(**READY, queued=2, running=1, **facts)
    assert queue_full(word, Model(id="m", engine="echo"), standing, most_queued=2).retry_after == told
