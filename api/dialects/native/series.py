"""GET /v1/admin/series: the last minutes of each model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, cast

from pydantic import Field
from typing_extensions import TypedDict

from shared.metrics.series import STEP_S, Sample, refused
from shared.models import Model

LATE_S = 2
"""A sample is there so long after its step began, at the latest."""


class ModelSeries(TypedDict):
    """What waited, ran and worked at each moment; the rest is over the step before it. All of runs.

    Null where it is not known.
    """

    waiting: list[int | None]
    running: list[int | None]
    workers: list[int | None]
    tokens_per_s: list[float | None]
    wait_p95_s: list[float | None]
    succeeded: list[int | None]
    failed: list[int | None]


_REFUSALS = "By code, how many requests were refused with 429 or 503; codes without any are left out."

# `from` is no name that a class can have.
SeriesAnswer = TypedDict(
    "SeriesAnswer",
    {
        "step_s": int,
        "from": int,
        "models": dict[str, ModelSeries],
        "refusals": Annotated[dict[str, list[int | None]], Field(description=_REFUSALS)],
    },
)


def to_series(samples: Iterable[Sample], models: Sequence[Model], now_ms: int, minutes: int) -> SeriesAnswer:
    """The oldest first; `from` is the first moment's time in Unix seconds."""
    last = (now_ms - LATE_S * 1000) // (STEP_S * 1000)
    steps = range(last - minutes * 60 // STEP_S + 1, last + 1)
    by_step = {sample.at_ms // (STEP_S * 1000): sample for sample in samples}
    rows = {model.id: _series(by_step, model, steps) for model in models}
    return {"step_s": STEP_S, "from": steps[0] * STEP_S, "models": rows, "refusals": refused(by_step, steps)}


def _series(samples: Mapping[int, Sample], model: Model, steps: Sequence[int]) -> ModelSeries:
    row = [samples[step].lanes.get(model.lane, {}) if step in samples else {} for step in steps]
    return cast(ModelSeries, {n: [moment.get(n) for moment in row] for n in ModelSeries.__annotations__})
