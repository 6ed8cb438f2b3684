"""The last minutes of each model, step by step: what the maintenance samples, and what the samples say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pydantic_core import from_json, to_json

from shared.errors import CODES
from shared.metrics.counters import WAITS

STEP_S, LONGEST_MIN = 10, 15
_TOKENS, _SUCCEEDED, _FAILED, _WAITS = range(4)
"""Places of a model's counters; waits by bucket are last."""
_BOUNDS = (*WAITS, float("inf"))
_PLACES: dict[tuple[str, ...], int] = {
    ("sightline_tokens_generated", "total"): _TOKENS,
    ("sightline_attempts", "total", "succeeded"): _SUCCEEDED,
    ("sightline_attempts", "total", "failed"): _FAILED,
    ("sightline_attempts", "total", "format_violated"): _FAILED,
} | {("sightline_wait_seconds", str(float(end))): _WAITS + at for at, end in enumerate(WAITS)}
_PLACES["sightline_wait_seconds", "+Inf"] = _WAITS + len(WAITS)
OVERLOAD = {
    code: to_json(["sightline_refusals", "total", code]).decode()
    for code, about in CODES.items()
    if about.status in (429, 503)
}
"""Errors for which a repeat may help, and the names of their counts."""


@dataclass(frozen=True)
class Sample:
    """At one moment: `lanes` has what waits, what runs and ready workers, `counts` models' `counters`,
    `refusals` requests refused so far, by code.
    """

    at_ms: int
    lanes: Mapping[str, Sequence[int]]
    counts: Mapping[str, Sequence[float]]
    refusals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """One step of a model; None where it is not known. What ended are runs."""

    waiting: int | None = None
    running: int | None = None
    workers: int | None = None
    tokens_per_s: float | None = None
    wait_p95_s: float | None = None
    succeeded: int | None = None
    failed: int | None = None


def counters(totals: Mapping[str, float]) -> dict[str, list[float]]:
    """What of all counts a sample keeps, by model."""
    by_model: dict[str, list[float]] = {}
    for name, value in totals.items():
        family, part, *labels = from_json(name)
        place = _PLACES.get((family, part, *labels[1:]))
        if place is not None and labels:
            by_model.setdefault(labels[0], [0.0] * (_WAITS + len(_BOUNDS)))[place] += value
    return by_model


def overload(totals: Mapping[str, float]) -> dict[str, float]:
    """How often a request was refused because the service could not take it then, by code."""
    return {code: totals[name] for code, name in OVERLOAD.items() if name in totals}


def refused(samples: Mapping[int, Sample], steps: Sequence[int]) -> dict[str, list[int | None]]:
    """By code, the refusals of each step; None where they are not known. Codes without any are left out."""
    codes = sorted({code for step in steps if step in samples for code in samples[step].refusals})
    rises = {
        code: [_rise(samples.get(step - 1), samples.get(step), code) for step in steps] for code in codes
    }
    return {code: rise for code, rise in rises.items() if any(rise)}


def _rise(before: Sample | None, sample: Sample | None, code: str) -> int | None:
    if before is None or sample is None:
        return None
    rise = sample.refusals.get(code, 0.0) - before.refusals.get(code, 0.0)
    # A store that lost its counts begins anew.
    return None if rise < 0 else round(rise)


def moments(samples: Mapping[int, Sample], model: str, lane: str, steps: Sequence[int]) -> list[Moment]:
    """One model's; `samples` by their step, which is their time over `STEP_S`."""
    return [_moment(samples.get(step - 1), samples.get(step), model, lane) for step in steps]


def _moment(before: Sample | None, sample: Sample | None, model: str, lane: str) -> Moment:
    if sample is None:
        return Moment()
    waiting, running, workers = sample.lanes.get(lane, (None, None, None))
    now = sample.counts.get(model, ())
    earlier = before.counts.get(model, [0.0] * len(now)) if before else ()
    # A store that lost its counts begins anew.
    if before is None or not now or any(new < old for new, old in zip(now, earlier, strict=True)):
        return Moment(waiting, running, workers)
    risen = [new - old for new, old in zip(now, earlier, strict=True)]
    return Moment(
        waiting,
        running,
        workers,
        tokens_per_s=round(risen[_TOKENS] * 1000 / (sample.at_ms - before.at_ms), 1),
        wait_p95_s=_quantile(risen[_WAITS:], 0.95),
        succeeded=round(risen[_SUCCEEDED]),
        failed=round(risen[_FAILED]),
    )


def _quantile(counts: Sequence[float], share: float) -> float | None:
    """Within its bucket as if all waits there were spread evenly; the last bucket's lower end beyond that."""
    wanted, below, start = share * sum(counts), 0.0, 0.0
    for total, count, end in zip(accumulate(counts), counts, _BOUNDS, strict=True):
        if count and total >= wanted:
            return start if end == _BOUNDS[-1] else round(start + (end - start) * (wanted - below) / count, 3)
        below, start = total, end
    return None
