"""The last minutes of each model, step by step: what the maintenance samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.errors import CODES
from shared.metrics.counters import REFUSALS

STEP_S, LONGEST_MIN = 10, 15
OVERLOAD = frozenset(code for code, about in CODES.items() if about.status in (429, 503))
"""Errors for which a repeat may help."""


@dataclass(frozen=True)
class Sample:
    """At one moment: `lanes` has what waits, what runs and ready workers, and of the step before it what the
    runs did; `refusals` how many requests were refused in that step, by code.
    """

    at_ms: int
    lanes: Mapping[str, Mapping[str, float]]
    refusals: Mapping[str, int]


def overload() -> dict[str, float]:
    """How often this process refused a request because the service could not take it then, by code."""
    (family,) = REFUSALS.collect()
    return {
        code: one.value for one in family.samples if (code := one.labels["code"]) in OVERLOAD and one.value
    }


def refused(samples: Mapping[int, Sample], steps: Sequence[int]) -> dict[str, list[int | None]]:
    """By code, the refusals of each step; None where they are not known. Codes without any are left out."""
    shown = {step: samples[step].refusals for step in steps if step in samples}
    codes = sorted({code for refusals in shown.values() for code in refusals})
    return {code: [shown[step].get(code, 0) if step in shown else None for step in steps] for code in codes}
