"""What the API processes count."""

from shared.errors import CODES
from shared.metrics.declared import MODEL, Label, counter, histogram

CLASS = Label("class", ("interactive", "normal", "batch"))
# OpenTelemetry's advice for http.server.request.duration, and longer: callers may wait for minutes.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

HTTP = counter(
    "sightline_http_requests_total",
    "Requests that were answered, by the template of their path; `other` where that is no route's, and for "
    "methods that a route does not have.",
    Label("route"),
    Label("method"),
    Label("status"),
)
HTTP_SECONDS = histogram(
    "sightline_http_request_seconds",
    "From the head of a request to the last byte of its answer; a stream's whole life.",
    Label("route"),
    Label("method"),
    bounds=BOUNDS,
    otel="http.server.request.duration",
)
REFUSALS = counter(
    "sightline_refusals_total",
    "Requests that were answered with an error, by its code.",
    Label("code", tuple(sorted(CODES))),
)
ADMITTED = counter(
    "sightline_jobs_admitted_total",
    "Jobs that came in. `hit`: answered from the cache; `coalesced`: joined a run in flight; `miss`: got a "
    "run of its own; `bypass`: one that nobody may share; `pending`: it waits for "
    "its inputs or its time.",
    MODEL,
    CLASS,
    Label("cache", ("hit", "coalesced", "miss", "bypass", "pending")),
)
LINES = counter(
    "sightline_batch_lines_total",
    "Lines of batches: `taken` in, `refused` at the door, `completed` and `failed` when answers are written.",
    Label("outcome", ("taken", "refused", "completed", "failed")),
)
