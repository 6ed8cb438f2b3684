"""What couriers count."""

from shared.metrics.declared import Label, counter, histogram

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

FETCH = histogram(
    "sightline_fetch_seconds",
    "Fetching one remote picture or sound, however it went.",
    Label("kind", ("picture", "sound")),
    bounds=BOUNDS,
)
INTAKES = counter(
    "sightline_intakes_total",
    "Attempts at fetching a job's inputs. `failed`: they cannot be had; `retried` and `given_back`: again; "
    "`lost`: another courier's, or ended meanwhile.",
    Label("outcome", ("admitted", "failed", "retried", "given_back", "lost")),
)
CALLS = counter(
    "sightline_webhook_calls_total",
    "Calls of webhooks. `taken`: answered with 2xx; `retried`: comes again; `given_up`: was the last try; "
    "`gone`: the receiver wants no more (410).",
    Label("outcome", ("taken", "retried", "given_up", "gone")),
)
CALL_SECONDS = histogram(
    "sightline_webhook_call_seconds", "One call of a webhook, however it went.", bounds=BOUNDS
)
UPKEEP = counter(
    "sightline_maintenance_total",
    "What the passes of maintenance did. `rescued`: work of lost workers; `due`: put into line at its time; "
    "`late`: ended by a deadline; `removed`: with their model; `mended`: a record that no history should "
    "leave; `collected`: files deleted; `nudged`: nudges sent again.",
    Label("pass", ("rescued", "due", "late", "removed", "mended", "collected", "nudged")),
)
