"""Measure: summaries of samples, limits that a figure must keep, ratios to a baseline of the same run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bound:
    """A figure that must stay under a limit, or over it."""

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> dict[str, Any]:
        """As the results hold it."""
        return asdict(self) | {"met": self.met}


@dataclass(frozen=True)
class Ratio:
    """Ours over a named baseline of the same run; `low` and `high` pair the rounds."""

    name: str
    baseline: str
    value: float
    low: float
    high: float
    at_least: float | None = None
    met: bool | None = None


def ratio(
    name: str, baseline: str, ours: Sequence[float], theirs: Sequence[float], at_least: float | None = None
) -> Ratio:
    """The median ratio of two figures whose rounds took turns."""
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    value = median(rounds)
    met = None if at_least is None else value >= at_least
    return Ratio(name, baseline, round(value, 4), round(min(rounds), 4), round(max(rounds), 4), at_least, met)


def percentiles(values: Sequence[float], *names: str, digits: int = 3) -> dict[str, float]:
    """Return them by name: `p50`, `p90` and so on."""
    return {name: round(float(np.percentile(values, int(name[1:]))), digits) for name in names}


def stretches(values: Sequence[float], count: int = 5) -> list[float]:
    """Return medians of so many stretches of a run, so that drift shows."""
    return [float(np.median(some)) for some in np.array_split(values, count)]
