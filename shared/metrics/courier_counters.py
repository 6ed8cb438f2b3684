"""What couriers count."""

from shared.metrics.metric_types import Label, counter, histogram

FETCH_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

FETCH = histogram(
    "sightline_fetch_seconds",
    "Fetching one remote picture, audio file, video or document, failures included.",
    Label("kind", ("picture", "sound", "document", "video")),
    bounds=FETCH_BOUNDS,
)
INTAKES = counter(
    "sightline_intakes_total",
    "Attempts at fetching a job's inputs. `failed`: permanently; `retried` and `given_back`: tried again; "
    "`lost`: now another courier's, or the job ended.",
    Label("outcome", ("admitted", "failed", "retried", "given_back", "lost")),
)
CALLS = counter(
    "sightline_webhook_calls_total",
    "Webhook deliveries. `taken`: answered with 2xx; `retried`: tried again; "
    "`given_up`: the last attempt failed; `gone`: 410.",
    Label("outcome", ("taken", "retried", "given_up", "gone")),
)
CALL_SECONDS = histogram(
    "sightline_webhook_call_seconds", "One webhook delivery, failures included.", bounds=FETCH_BOUNDS
)
UPKEEP = counter(
    "sightline_maintenance_total",
    "Maintenance. `rescued`: work of lost workers; `due`: queued at its time; "
    "`late`: ended by a deadline; `removed`: with its model; "
    "`collected`: files deleted; `foreign`: looks at a blob store of another record store, where none is; "
    "`finished`, `folded`: bookkeeping.",
    Label("pass", ("rescued", "due", "late", "finished", "folded", "removed", "collected", "foreign")),
)
