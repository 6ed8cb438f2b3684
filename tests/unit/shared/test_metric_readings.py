"""What a process tells the store of its counts is what it would say itself, and each rise is told once."""

from collections import Counter
from typing import Any

import pytest
from pydantic_core import from_json

from shared.metrics.counters import ATTEMPTS, CALL_SECONDS, UPKEEP, WAIT
from shared.metrics.definitions import REGISTRY
from shared.metrics.reporter import CounterDeltas

MODEL = 'a "model"\nof test_readings'


def risen(readings: CounterDeltas) -> dict[tuple[str, ...], Any]:
    return {tuple(from_json(name)): pytest.approx(value) for name, value in readings.fresh()}


def test_each_rise_is_told_once_under_the_name_that_the_store_has_for_it() -> None:
    readings = CounterDeltas()
    ATTEMPTS.labels(MODEL, "succeeded").inc(2)
    for _ in range(2):
        WAIT.labels(MODEL).observe(0.07)
    CALL_SECONDS.observe(0)
    assert risen(readings) == {
        ("sightline_attempts", "total", MODEL, "succeeded"): 2,
        ("sightline_wait_seconds", "0.1", MODEL): 2,
        ("sightline_wait_seconds", "sum", MODEL): 0.14,
        ("sightline_webhook_call_seconds", "0.01"): 1,
    }
    assert risen(readings) == {}
    WAIT.labels(MODEL).observe(1e9)
    assert risen(readings) == {
        ("sightline_wait_seconds", "+Inf", MODEL): 1,
        ("sightline_wait_seconds", "sum", MODEL): 1e9,
    }


def test_all_that_is_told_is_what_the_library_tells_of_the_same() -> None:
    def told_by_the_library() -> Counter[tuple[str, ...]]:
        return Counter(
            {
                (sample.name, *sample.labels.values()): sample.value
                for family in REGISTRY.collect()
                for sample in family.samples
                if sample.name.endswith(("_total", "_sum", "_count"))
            }
        )

    readings, before = CounterDeltas(), told_by_the_library()
    UPKEEP.labels("late").inc(3)
    ATTEMPTS.labels(MODEL, "retried").inc()
    for value in (0, 0.01, 0.02, 3, 1e6):
        CALL_SECONDS.observe(value)
        WAIT.labels(MODEL).observe(value)
    told: dict[tuple[str, ...], float] = {}
    for name, value in readings.fresh():
        family, part, *labels = from_json(name)
        series = (f"{family}_{part if part in ('total', 'sum') else 'count'}", *labels)
        told[series] = told.get(series, 0) + value
    assert told == pytest.approx(told_by_the_library() - before)
