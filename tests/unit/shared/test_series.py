"""The charts of the last minutes: what happened in each step, and nothing where it is not known."""

from typing import Any

from api.dialects.native.admin import to_series
from api.metrics import overload
from shared.metrics.api_counters import REFUSALS
from shared.metrics.series import Sample
from shared.models import Model

MODEL = Model(id="org/m", source="x")
NOW_MS = 1_760_000_000_000


def sample(step: int, refusals: dict[str, int] | None = None, **lane: float) -> Sample:
    """So many steps before now."""
    return Sample(NOW_MS - step * 10_000, {MODEL.lane: lane}, refusals or {})


def shown(*samples: Sample) -> Any:
    return to_series(samples, [MODEL], NOW_MS + 3000, 1)


def test_moments_stand_in_their_steps_the_oldest_first() -> None:
    answer = shown(sample(2, waiting=5, workers=1), sample(0, waiting=7, workers=1, wait_p95_s=0.5))

    assert (answer["step_s"], answer["from"]) == (10, NOW_MS // 1000 - 50)
    row = answer["models"][MODEL.id]
    assert row["waiting"] == [None, None, None, 5, None, 7]
    assert row["workers"] == [None, None, None, 1, None, 1]
    assert row["wait_p95_s"] == [None, None, None, None, None, 0.5]


def test_requests_that_the_service_could_not_take_are_shown_by_code() -> None:
    before = overload()
    for code in ("queue_full", "rate_limited", "invalid_json"):
        REFUSALS.labels(code).inc()
    risen = {code: count - before.get(code, 0) for code, count in overload().items()}
    assert {code for code, rise in risen.items() if rise} == {"queue_full", "rate_limited"}

    answer = shown(sample(2, {"queue_full": 5}), sample(1), sample(0, {"queue_full": 2}))
    assert answer["refusals"] == {"queue_full": [None, None, None, 5, 0, 2]}


def test_a_model_of_which_nothing_is_known_has_empty_moments() -> None:
    assert set(shown()["models"][MODEL.id]["waiting"]) == {None}
