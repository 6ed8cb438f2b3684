"""The last minutes of each model, step by step: what the maintenance samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STEP_S, LONGEST_MIN = 10, 15


@dataclass(frozen=True)
class Sample:
    """At one moment: `lanes` has what waits, what runs and ready workers, and of the step before it what the
    runs did, `refusals` how many requests were refused in it, by code; of more than a step neither is told.
    """

    at_ms: int
    lanes: Mapping[str, Mapping[str, float]]
    refusals: Mapping[str, int]


def refused(samples: Mapping[int, Sample], steps: Sequence[int]) -> dict[str, list[int | None]]:
    """By code, the refusals of each step; None where they are not known. Codes without any are left out."""
    shown = {step: samples[step].refusals for step in steps if step in samples}
    codes = sorted({code for refusals in shown.values() for code in refusals})
    return {code: [shown[step].get(code, 0) if step in shown else None for step in steps] for code in codes}
