"""What model workers count."""

from shared.errors import CODES
from shared.metrics.declared import MODEL, Label, counter, histogram

# A wait in line may be anything from milliseconds to a night.
WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
# OpenTelemetry's advice for gen_ai.server.request.duration and gen_ai.server.time_to_first_token, both with
# the wait in line, and for gen_ai.server.time_per_output_token with the pace of small models.
LINES = (300, 900, 3600, 14400)
RUNS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, *LINES)
FIRSTS = (0.01, 0.02, 0.04, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, *LINES)
PAUSES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
DECODES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

WAIT = histogram(
    "sightline_wait_seconds",
    "In line: from a run's arrival to its first claim.",
    MODEL,
    bounds=WAITS,
)
FIRST_TOKEN = histogram(
    "sightline_time_to_first_token_seconds",
    "From a run's arrival to its first token, the wait in line included; of first attempts.",
    MODEL,
    bounds=FIRSTS,
    otel="gen_ai.server.time_to_first_token",
)
INTER_TOKEN = histogram(
    "sightline_inter_token_seconds",
    "Between two tokens of one answer; where several become text together, their mean.",
    MODEL,
    bounds=PAUSES,
    otel="gen_ai.server.time_per_output_token",
)
RUN = histogram(
    "sightline_run_seconds",
    "From standing in line to the answer, of the attempt that gave it.",
    MODEL,
    bounds=RUNS,
    otel="gen_ai.server.request.duration",
)
COMPUTE = histogram(
    "sightline_compute_seconds",
    "Of an answered run: its pictures, its prompt and its tokens, without any wait.",
    MODEL,
    bounds=RUNS,
)
ATTEMPTS = counter(
    "sightline_attempts_total",
    "Attempts by their end. `failed`: the request's fault; `format_violated`: the answer breaks its schema; "
    "`retried`: another attempt may do better; "
    "`given_back`: the worker stops, hangs, or lost its device or the store; "
    "`lost`: cancelled, or another's.",
    MODEL,
    Label("outcome", ("succeeded", "failed", "format_violated", "retried", "given_back", "lost")),
)
TOKENS = counter(
    "sightline_tokens_total",
    "Tokens of answered runs. Among `prompt` are `picture`, `sound`, and `cached`: known from before.",
    MODEL,
    Label("kind", ("prompt", "picture", "sound", "cached", "completion")),
    otel="gen_ai.client.token.usage",
)
GENERATED = counter(
    "sightline_tokens_generated_total",
    "Tokens as they come, also of attempts that do not end well.",
    MODEL,
)
REUSED = counter(
    "sightline_prompts_reused_total",
    "Answered runs of whose prompt the engine still knew a part.",
    MODEL,
)
DECODE = histogram(
    "sightline_decode_seconds",
    "Decoding one picture or sound, the wait for a free decoder included.",
    Label("kind", ("picture", "sound")),
    bounds=DECODES,
)


# What couriers count.

FETCH_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

FETCH = histogram(
    "sightline_fetch_seconds",
    "Fetching one remote picture or sound, however it went.",
    Label("kind", ("picture", "sound")),
    bounds=FETCH_BOUNDS,
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
    "sightline_webhook_call_seconds", "One call of a webhook, however it went.", bounds=FETCH_BOUNDS
)
UPKEEP = counter(
    "sightline_maintenance_total",
    "What the passes of maintenance did. `rescued`: work of lost workers; `due`: put into line at its time; "
    "`late`: ended by a deadline; `removed`: with their model; `mended`: a record that no history should "
    "leave; `collected`: files deleted; `nudged`: nudges sent again.",
    Label("pass", ("rescued", "due", "late", "removed", "mended", "collected", "nudged")),
)


# What the API processes count.

CLASS = Label("class", ("interactive", "normal", "batch"))
# OpenTelemetry's advice for http.server.request.duration, and longer: callers may wait for minutes.
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

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
    bounds=REQUEST_BOUNDS,
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
BATCH_LINES = counter(
    "sightline_batch_lines_total",
    "Lines of batches: `taken` in, `refused` at the door, `completed` and `failed` when answers are written.",
    Label("outcome", ("taken", "refused", "completed", "failed")),
)
