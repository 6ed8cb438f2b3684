"""What API processes count."""

from shared.errors import CODES
from shared.metrics.metric_types import MODEL, Label, counter, histogram

CLASS = Label("class", ("interactive", "normal", "batch"))
# OpenTelemetry's advice for http.server.request.duration, and longer: callers may wait for minutes.
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

HTTP = counter(
    "sightline_http_requests_total",
    "Answered requests, by route template; `other` for unknown paths and methods.",
    Label("route"),
    Label("method"),
    Label("status"),
)
HTTP_SECONDS = histogram(
    "sightline_http_request_seconds",
    "From a request's head to the last byte of its answer.",
    Label("route"),
    Label("method"),
    bounds=REQUEST_BOUNDS,
    otel="http.server.request.duration",
)
REFUSALS = counter(
    "sightline_refusals_total",
    "Requests answered with an error, by code.",
    Label("code", tuple(sorted(CODES))),
)
ADMITTED = counter(
    "sightline_jobs_admitted_total",
    "Accepted requests. `hit`: answered from the cache; `coalesced`: joined a run in flight; `miss`: got a "
    "run of its own; `bypass`: one that is not shared; `pending`: waits for its inputs.",
    MODEL,
    CLASS,
    Label("cache", ("hit", "coalesced", "miss", "bypass", "pending")),
)
BATCH_LINES = counter(
    "sightline_batch_lines_total",
    "Lines of batches: `taken` (submitted), `refused`, `completed` and `failed`.",
    Label("outcome", ("taken", "refused", "completed", "failed")),
)
