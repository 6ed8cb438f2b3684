"""The page of metrics, from their declarations."""

from collections.abc import Iterator

from docs.generate.tables import rows_of
from shared.metrics import gauges, totals
from shared.metrics.declared import DECLARED, Declared

SOURCES = (gauges, *totals.COUNTING)
"""Where they are declared: whatever is imported here is listed."""

HEAD = """\
# Metrics

What `GET /metrics` tells; [monitoring](monitoring.md) says how to set it up. Labels hold ids of models,
templates of routes, codes and words from a list: nothing that a caller wrote, and no job. Where OpenTelemetry
has a name for the same, it stands in the last column; of its attributes `gen_ai.request.model`, `http.route`,
`http.request.method` and `http.response.status_code` are our labels `model`, `route`, `method` and `status`,
and `gen_ai.token.type` is `kind`, with `input` for `prompt` and `output` for `completion`.
"""
KINDS = {
    "gauge": "## As it is now\n\nRead from the record store when somebody asks, once a second at most.\n",
    "counter": "## Totals\n\nOf all processes. Those whose labels are all known beforehand begin at 0.\n",
    "histogram": "## Times\n\nIn seconds. Each has `_bucket`, `_sum` and `_count`.\n",
}


def page() -> str:
    return HEAD + "".join(f"\n{head}{_table(kind)}" for kind, head in KINDS.items())


def _table(kind: str) -> str:
    return rows_of(("metric", "labels", "what it says", "OpenTelemetry"), _rows(kind))


def _rows(kind: str) -> Iterator[tuple[str, str, str, str]]:
    for declared in sorted(DECLARED.values(), key=lambda declared: declared.name):
        if declared.kind == kind:
            otel = f"`{declared.otel}`" if declared.otel else ""
            yield f"`{declared.name}`", _labels(declared), declared.about, otel


def _labels(declared: Declared) -> str:
    return ", ".join(f"`{name}`" for name in declared.label_names)
