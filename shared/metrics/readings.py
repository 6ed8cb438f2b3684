"""What this process has counted, read value by value.

The library's own reading (`collect`) makes several objects for every series, 4 ms for a thousand of them, and
nothing else of the process runs meanwhile. So this reads the library's private fields, stable for years;
`tests/unit/test_readings.py` compares the two.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import cast

from prometheus_client import Counter, Histogram
from prometheus_client.utils import floatToGoString
from pydantic_core import to_json

from shared.metrics.declared import COUNTED

Child = Counter | Histogram


class Readings:
    """Remembers what was read last. Counts from before it was made are not told."""

    def __init__(self) -> None:
        self._names: dict[Child, list[str]] = {}
        self._values: dict[Child, list[float]] = {}
        self.fresh()

    def fresh(self) -> list[tuple[str, float]]:
        """How much each series has risen, by its name in the store. Buckets are not cumulative."""
        risen: list[tuple[str, float]] = []
        for family, metric in list(COUNTED.items()):
            for labels, child in _children(metric):
                now, before = _values(child), self._values.get(child)
                if now != before:
                    self._values[child] = now
                    if child not in self._names:
                        self._names[child] = _names(family, labels, child)
                    pairs = zip(self._names[child], now, before or repeat(0.0), strict=False)
                    risen += [(name, value - old) for name, value, old in pairs if value != old]
        return risen


def _children(metric: Child) -> list[tuple[Sequence[str], Child]]:
    """The metric's children, one for each set of labels; a copy, since others come meanwhile."""
    if not metric._labelnames:
        return [((), metric)]
    return list(cast("dict[Sequence[str], Child]", metric._metrics).items())


def _values(child: Child) -> list[float]:
    if isinstance(child, Counter):
        return [child._value.get()]
    return [*(bucket.get() for bucket in child._buckets), child._sum.get()]


def _names(family: str, labels: Iterable[str], child: Child) -> list[str]:
    """The names of a counter's total, or of a histogram's buckets (by their upper ends) and sum."""
    parts = ("total",) if isinstance(child, Counter) else (*map(floatToGoString, child._upper_bounds), "sum")
    return [to_json([family, part, *labels]).decode() for part in parts]
