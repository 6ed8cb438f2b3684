"""The sums of all processes, as the record store keeps them, in the shape of metrics."""

from collections.abc import Collection, Iterator, Mapping
from itertools import product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from pydantic_core import from_json

from shared.metrics import counters  # noqa: F401 - declares them by being imported
from shared.metrics.definitions import DEFINITIONS, MODEL, MetricDefinition

Parts = dict[str, float]
Series = dict[tuple[str, ...], Parts]


def families(totals: Mapping[str, float], models: Collection[str]) -> Iterator[Metric]:
    """Every counter and histogram. Models that are no longer served are left out."""
    by_family = _by_family(totals)
    for name, declared in DEFINITIONS.items():
        series = {
            labels: parts
            for labels, parts in by_family.get(name, {}).items()
            if _fits(declared, labels, models)
        }
        if declared.kind == "counter":
            yield _counter(declared, series, models)
        elif declared.kind == "histogram":
            yield _histogram(declared, series, models)


def _by_family(totals: Mapping[str, float]) -> dict[str, Series]:
    by_family: dict[str, Series] = {}
    for name, value in totals.items():
        family, part, *labels = from_json(name)
        by_family.setdefault(family, {}).setdefault(tuple(labels), {})[part] = value
    return by_family


def _fits(declared: MetricDefinition, labels: tuple[str, ...], models: Collection[str]) -> bool:
    """Whether a series has the declared labels: another release may have counted with others."""
    if len(labels) != len(declared.labels):
        return False
    return all(
        value in models for label, value in zip(declared.labels, labels, strict=True) if label is MODEL
    )


def _counter(declared: MetricDefinition, series: Series, models: Collection[str]) -> Metric:
    family = CounterMetricFamily(declared.name, declared.about, labels=declared.label_names)
    for labels, parts in (_zero_series(declared, models) | series).items():
        family.add_metric(labels, parts.get("total", 0.0))
    return family


def _zero_series(declared: MetricDefinition, models: Collection[str]) -> Series:
    """Series that are known beforehand start at 0: a rise from an absent series is seen by nobody."""
    label_values = [models if label is MODEL else label.values for label in declared.labels]
    return {labels: {} for labels in product(*label_values)} if all(label_values) else {}


def _histogram(declared: MetricDefinition, series: Series, models: Collection[str]) -> Metric:
    family = HistogramMetricFamily(declared.name, declared.about, labels=declared.label_names)
    bounds = (*declared.bounds, float("inf"))
    for labels, parts in (_zero_series(declared, models) | series).items():
        total = parts.pop("sum", 0.0)
        fallen = [(float(end), value) for end, value in parts.items()]
        buckets = [(_end(bound), sum(value for end, value in fallen if end <= bound)) for bound in bounds]
        family.add_metric(labels, buckets, total)
    return family


def _end(bound: float) -> str:
    """As `prometheus_client` writes it."""
    return "+Inf" if bound == float("inf") else str(float(bound))
