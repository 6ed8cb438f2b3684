"""What couriers count."""

from shared.metrics.declared import Label, counter, histogram

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

FETCH = histogram(
    "sightline_fetch_seconds",
    "Fetching one remote picture or audio file, failures included.",
    Label("kind", ("picture", "sound")),
    bounds=BOUNDS,
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
    "sightline_webhook_call_seconds", "One webhook delivery, failures included.", bounds=BOUNDS
)
UPKEEP = counter(
    "sightline_maintenance_total",
    "Maintenance. `rescued`: work of lost workers; `due`: queued at its time; "
    "`late`: ended by a deadline; `removed`: with its model; `mended`: inconsistent records repaired; "
    "`collected`: files deleted; `nudged`: nudges sent again.",
    Label("pass", ("rescued", "due", "late", "removed", "mended", "collected", "nudged")),
)
