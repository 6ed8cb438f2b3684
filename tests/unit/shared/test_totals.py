"""The sums of all processes become metrics that a scraper understands."""

import pytest
from prometheus_client.core import Metric
from pydantic_core import to_json

from shared.metrics.totals import families
from tests.support.metrics import known_names

MODELS = ["m"]
# As a process of this release writes it.
WAIT = "sightline_wait_seconds"


def named(family: str, part: str, *labels: str) -> str:
    return to_json([family, part, *labels]).decode()


def told(**totals: float) -> dict[str, Metric]:
    return {family.name: family for family in families(totals, MODELS)}


def series(family: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    return {tuple(s.labels.values()): s.value for s in family.samples if s.name.endswith(suffix)}


def test_a_first_failure_is_a_rise_from_0_and_not_from_nothing() -> None:
    found = told()
    assert series(found["sightline_attempts"])[("m", "retried")] == 0
    assert series(found["sightline_refusals"])[("queue_full",)] == 0
    assert series(found[WAIT], "_count") == {("m",): 0}
    assert series(found["sightline_webhook_call_seconds"], "_sum") == {(): 0}


def test_a_total_keeps_what_it_had() -> None:
    found = told(**{named("sightline_attempts", "total", "m", "retried"): 3})
    assert series(found["sightline_attempts"])[("m", "retried")] == 3


def test_buckets_hold_what_is_as_short_or_shorter() -> None:
    found = told(
        **{
            named(WAIT, "0.05", "m"): 2,
            named(WAIT, "1.0", "m"): 1,
            named(WAIT, "+Inf", "m"): 1,
            named(WAIT, "sum", "m"): 99.5,
        }
    )[WAIT]
    buckets = {labels[-1]: value for labels, value in series(found, "_bucket").items()}
    assert (buckets["0.01"], buckets["0.05"], buckets["0.5"], buckets["1.0"]) == (0, 2, 2, 3)
    assert (series(found, "_count"), series(found, "_sum")) == ({("m",): 4}, {("m",): 99.5})


def test_what_fell_into_a_bucket_of_another_release_is_not_lost() -> None:
    found = told(**{named(WAIT, "0.07", "m"): 2, named(WAIT, "sum", "m"): 0.1})[WAIT]
    buckets = {labels[-1]: value for labels, value in series(found, "_bucket").items()}
    assert (buckets["0.05"], buckets["0.1"], buckets["+Inf"]) == (0, 2, 2)


def test_models_that_are_served_no_more_and_series_of_another_release_are_left_out() -> None:
    found = told(
        **{
            named("sightline_attempts", "total", "gone", "succeeded"): 3,
            named("sightline_attempts", "total", "m"): 3,
            named("sightline_never_heard_of", "total"): 3,
        }
    )
    assert {labels[0] for labels in series(found["sightline_attempts"])} == {"m"}
    assert all(len(labels) == 2 for labels in series(found["sightline_attempts"]))
    assert {sample.name for family in found.values() for sample in family.samples} <= known_names()


@pytest.mark.parametrize("name", [WAIT, "sightline_time_to_first_token_seconds", "sightline_run_seconds"])
def test_what_waited_for_hours_is_told_from_what_waited_for_minutes(name: str) -> None:
    found = told(
        **{named(name, "3600.0", "m"): 1, named(name, "+Inf", "m"): 1, named(name, "sum", "m"): 18000}
    )
    buckets = {labels[-1]: value for labels, value in series(found[name], "_bucket").items()}
    assert (buckets["900.0"], buckets["3600.0"], buckets["14400.0"], buckets["+Inf"]) == (0, 1, 1, 2)
