"""What workers count."""

from shared.metrics.metric_types import MODEL, Label, counter, histogram

# A wait in line may be anything from milliseconds to a night.
WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
# OpenTelemetry's advice for gen_ai.server.request.duration and gen_ai.server.time_to_first_token, both with
# the wait in line, and for gen_ai.server.time_per_output_token with the pace of small models.
LINES = (300, 900, 3600, 14400)
RUNS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, *LINES)
FIRSTS = (0.01, 0.02, 0.04, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, *LINES)
PAUSES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)

WAIT = histogram("sightline_wait_seconds", "From a run's arrival to its first claim.", MODEL, bounds=WAITS)
FIRST_TOKEN = histogram(
    "sightline_time_to_first_token_seconds",
    "From a run's arrival to its first token, queueing included; first attempts only.",
    MODEL,
    bounds=FIRSTS,
    otel="gen_ai.server.time_to_first_token",
)
INTER_TOKEN = histogram(
    "sightline_inter_token_seconds",
    "Between two tokens of one answer, or their mean if several are sent together.",
    MODEL,
    bounds=PAUSES,
    otel="gen_ai.server.time_per_output_token",
)
RUN = histogram(
    "sightline_run_seconds",
    "From queued to answered, for the successful attempt.",
    MODEL,
    bounds=RUNS,
    otel="gen_ai.server.request.duration",
)
COMPUTE = histogram("sightline_compute_seconds", "Computing a run, without waits.", MODEL, bounds=RUNS)
ATTEMPTS = counter(
    "sightline_attempts_total",
    "Attempts by outcome. `failed`: the request's fault; "
    "`format_violated`: the answer breaks its schema; `retried`: tried again; "
    "`given_back`: the worker stops, hangs, or lost its device; "
    "`lost`: cancelled, or now another worker's.",
    MODEL,
    Label("outcome", ("succeeded", "failed", "format_violated", "retried", "given_back", "lost")),
)
TOKENS = counter(
    "sightline_tokens_total",
    "Tokens of answered runs. `prompt` includes `picture`, `sound` and `cached` (reused).",
    MODEL,
    Label("kind", ("prompt", "picture", "sound", "cached", "completion")),
    otel="gen_ai.client.token.usage",
)
GENERATED = counter("sightline_tokens_generated_total", "Generated tokens, failed attempts included.", MODEL)
REUSED = counter("sightline_prompts_reused_total", "Answered runs whose prompt was partly reused.", MODEL)
