"""The page of metrics, from their declarations."""

from collections.abc import Iterator

from docs.generate.tables import rows_of
from shared.metrics import api_counters, courier_counters, decoder_counters, gauges, worker_counters
from shared.metrics.metric_types import DEFINITIONS, MetricDefinition

SOURCES = (gauges, api_counters, courier_counters, decoder_counters, worker_counters)
"""Where they are declared: whatever is imported here is listed."""

HEAD = """\
# What is measured

Every process reports these of itself ([how to scrape it](monitoring.md)). The last column has
OpenTelemetry's name, if there is one; its attributes `gen_ai.request.model`, `http.route`,
`http.request.method`, `http.response.status_code` and `gen_ai.token.type` are our labels `model`, `route`,
`method`, `status` and `kind`.
"""
KINDS = {
    "gauge": "## Now\n\nRead from Redis when an API is scraped, at most once a second.\n",
    "counter": "## Totals\n\nSince the process began.\n",
    "histogram": "## Times\n\nIn seconds. Each has `_bucket`, `_sum` and `_count`.\n",
}


def page() -> str:
    return HEAD + "".join(f"\n{head}{_table(kind)}" for kind, head in KINDS.items())


def _table(kind: str) -> str:
    return rows_of(("metric", "labels", "meaning", "OpenTelemetry"), _rows(kind))


def _rows(kind: str) -> Iterator[tuple[str, str, str, str]]:
    for declared in sorted(DEFINITIONS.values(), key=lambda declared: declared.name):
        if declared.kind == kind:
            otel = f"`{declared.otel}`" if declared.otel else ""
            yield f"`{declared.name}`", _labels(declared), declared.about, otel


def _labels(declared: MetricDefinition) -> str:
    return ", ".join(f"`{name}`" for name in declared.label_names)
