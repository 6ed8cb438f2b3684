"""How a metric is declared; who counts it imports it from `…_counters.py`, all gauges are in `gauges.py`."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from shared.settings import MOST_PORT, MetricsSettings

log = logging.getLogger("shared.metrics")
PORTS = 100
"""Processes of one machine that may be served."""


disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""What this process has counted since it began, and its processor time, memory and open files."""
ProcessCollector(registry=REGISTRY)


@dataclass(frozen=True)
class Label:
    """`values` are all its values, where they are known beforehand: their series begin at 0."""

    name: str
    values: tuple[str, ...] = ()


MODEL = Label("model")
"""An id of the models file: no name that only a caller wrote."""


@dataclass(frozen=True)
class MetricDefinition:
    """`otel` is OpenTelemetry's name for it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[Label, ...]
    otel: str = ""

    @property
    def family(self) -> str:
        """The name that all its series share: a counter's without `_total`."""
        return self.name.removesuffix("_total")

    @property
    def label_names(self) -> list[str]:
        return [label.name for label in self.labels]


DEFINITIONS: dict[str, MetricDefinition] = {}
COUNTED: dict[str, Counter | Histogram] = {}
"""Counters and histograms by the name of their family."""


def counter(name: str, about: str, *labels: Label, otel: str = "") -> Counter:
    declared = _register(MetricDefinition(name, "counter", about, labels, otel))
    COUNTED[declared.family] = counting = Counter(name, about, declared.label_names, registry=REGISTRY)
    return counting


def histogram(name: str, about: str, *labels: Label, bounds: Sequence[float], otel: str = "") -> Histogram:
    declared = _register(MetricDefinition(name, "histogram", about, labels, otel))
    counting = Histogram(name, about, declared.label_names, buckets=bounds, registry=REGISTRY)
    COUNTED[declared.family] = counting
    return counting


def begin(models: Collection[str]) -> None:
    """Series that are known beforehand begin at 0: a rise from an absent series is seen by nobody."""
    for family, counting in COUNTED.items():
        labels = DEFINITIONS[family].labels
        known = [models if label is MODEL else label.values for label in labels]
        for values in product(*known) if labels else ():
            counting.labels(*values)


def gauge(name: str, about: str, *labels: Label) -> MetricDefinition:
    """Read from the record store when somebody asks: no process counts it."""
    return _register(MetricDefinition(name, "gauge", about, labels))


def _register(declared: MetricDefinition) -> MetricDefinition:
    DEFINITIONS[declared.family] = declared
    return declared


def serve(settings: MetricsSettings, models: Collection[str] = ()) -> None:
    """Serve metrics at the first free port from the one in the settings on; serve none if all are taken."""
    begin(models)
    host, _, first = settings.listen.rpartition(":")
    reason: str | None = None
    for port in range(int(first), min(int(first) + PORTS, MOST_PORT + 1)):
        try:
            start_http_server(port, host.strip("[]"), REGISTRY)
        except OSError as error:
            reason = error.strerror
        else:
            return
    log.warning("metrics are not served at %s: %s", settings.listen, reason)
