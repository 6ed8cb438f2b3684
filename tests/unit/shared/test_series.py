"""The charts of the last minutes: what happened in each step, and nothing where it is not known."""

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from api.dialects.native.series import to_series
from shared.metrics.counters import ATTEMPTS, GENERATED, REFUSALS, WAIT
from shared.metrics.reporter import CounterDeltas
from shared.metrics.series import Sample, counters, overload
from shared.models import Model

MODEL = Model(id="org/m", source="x")
NOW_MS = 1_760_000_000_000
NOTHING = [0.0] * 19


def sample(step: int, *, waiting: int = 0, **counted: Any) -> Sample:
    """So many steps before now."""
    counts = NOTHING.copy()
    for place, value in counted.get("at", {}).items():
        counts[place] = value
    return Sample(NOW_MS - step * 10_000, {MODEL.lane: (waiting, 2, 1)}, {MODEL.id: counts})


def shown(*samples: Sample) -> Any:
    return to_series(samples, [MODEL], NOW_MS + 3000, 1)["models"][MODEL.id]


def test_counts_of_a_process_are_sampled_by_model() -> None:
    deltas = CounterDeltas()
    GENERATED.labels("org/m").inc(7)
    ATTEMPTS.labels("org/m", "succeeded").inc()
    ATTEMPTS.labels("org/m", "format_violated").inc()
    ATTEMPTS.labels("org/m", "retried").inc()
    for wait_s in (0.02, 20, 10**6):
        WAIT.labels("org/m").observe(wait_s)
    found = counters(dict(deltas.fresh()) | {to_json(["sightline_couriers", "total"]).decode(): 1})["org/m"]

    assert found[:3] == [7, 1, 1]
    assert [place for place, count in enumerate(found[3:]) if count] == [1, 9, 15]
    assert len(found) == len(NOTHING)


def test_moments_stand_in_their_steps_the_oldest_first() -> None:
    answer = to_series([sample(2, waiting=5), sample(0, waiting=7)], [MODEL], NOW_MS + 3000, 1)

    assert (answer["step_s"], answer["from"]) == (10, NOW_MS // 1000 - 50)
    assert answer["models"][MODEL.id]["waiting"] == [None, None, None, 5, None, 7]
    assert answer["models"][MODEL.id]["workers"] == [None, None, None, 1, None, 1]


def test_a_rise_is_known_only_between_two_steps_in_turn() -> None:
    row = shown(sample(3, at={0: 5}), sample(1, at={0: 50}), sample(0, at={0: 150, 1: 3, 2: 1}))

    assert row["tokens_per_s"] == [None] * 5 + [10.0]
    assert (row["succeeded"][-1], row["failed"][-1]) == (3, 1)


def test_counts_that_are_gone_say_nothing_of_their_rise() -> None:
    kept, gone = sample(1, at={0: 5}), replace(sample(0, waiting=7), counts={})
    row = shown(kept, gone)
    assert (row["waiting"][-1], row["tokens_per_s"][-1]) == (7, None)
    assert shown(gone)["tokens_per_s"] == [None] * 6


def test_counts_that_fell_are_those_of_a_store_that_lost_them() -> None:
    row = shown(sample(2, at={0: 500}), sample(1, at={0: 10}), sample(0, at={0: 20}))
    assert row["tokens_per_s"][-3:] == [None, None, 1.0]


def test_a_model_s_first_counts_are_a_rise_from_nothing() -> None:
    before = Sample(NOW_MS - 10_000, {}, {})
    assert shown(before, sample(0, at={0: 100}))["tokens_per_s"][-1] == 10.0


def test_nineteen_of_twenty_waits_were_as_short() -> None:
    row = shown(sample(1), sample(0, at={3 + 6: 90, 3 + 8: 10}))
    assert row["wait_p95_s"][-1] == 7.5, "half way from 5 to 10 s"
    assert shown(sample(1), sample(0, at={3 + 15: 4}))["wait_p95_s"][-1] == 14400
    assert shown(sample(1), sample(0))["wait_p95_s"][-1] is None


def refusing(step: int, **refusals: float) -> Sample:
    return replace(sample(step), refusals=refusals)


def test_requests_that_the_service_could_not_take_are_shown_by_code() -> None:
    deltas = CounterDeltas()
    for code in ("queue_full", "rate_limited", "invalid_json"):
        REFUSALS.labels(code).inc()
    assert overload(dict(deltas.fresh())) == {"queue_full": 1, "rate_limited": 1}

    rising = refusing(2, queue_full=5, no_worker=1), refusing(1, queue_full=7, no_worker=1)
    answer = to_series([*rising, refusing(0, no_worker=1)], [MODEL], NOW_MS + 3000, 1)
    assert answer["refusals"] == {"queue_full": [None, None, None, None, 2, None]}


def test_a_model_of_which_nothing_is_known_has_empty_moments() -> None:
    assert set(shown()["waiting"]) == {None}
