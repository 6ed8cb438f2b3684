"""Reports each attempt: a line in the log at its end, and its part of the trace.

The trace has a span for the wait in line, one for the attempt, and below it one for each step. Neither log
nor trace holds a prompt, an answer or a URL."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from opentelemetry.trace import SpanKind

from shared.metrics.counters import ATTEMPTS, COMPUTE, REUSED, RUN, TOKENS, WAIT
from shared.request import Request
from shared.result import Result, Usage
from shared.store.claims import Claim
from shared.telemetry import traces
from shared.telemetry.logs import about, fields
from shared.telemetry.traces import Attributes, Value
from worker.lease import Lease

log = logging.getLogger("worker.telemetry")


@dataclass
class Entry:
    """How an attempt ended: `outcome` as the job shows it among its attempts, and an error's `code`."""

    outcome: str = "lost"
    code: str = ""
    usage: Usage | None = None


@contextmanager
def attempted(claim: Claim) -> Iterator[Entry]:
    """Wraps an attempt at a run or at fetching a job's inputs; reports at the end how it went."""
    began = time.monotonic()
    _trace_wait(claim)
    with (
        about(request_id=claim.request_id),
        traces.span("attempt", _named(claim), kind=SpanKind.CONSUMER, carrier=claim.trace) as span,
        about(trace_id=traces.trace_id()),
    ):
        entry = Entry()
        yield entry
        span.set_attributes({"sightline.outcome": entry.outcome})
        if entry.code:
            traces.fail(span, entry.code)
        _log(claim, entry, time.monotonic() - began)


def abandoned(claim: Claim, outcome: str, took_s: float) -> None:
    """Reports an attempt whose thread hangs and never will; its trace stays without its span."""
    with about(request_id=claim.request_id):
        _log(claim, Entry(outcome), took_s)


def _trace_wait(claim: Claim) -> None:
    if not claim.trace:
        return
    came_ns = time.time_ns() - claim.waited_ms * 1_000_000
    with traces.span("wait in line", _named(claim), carrier=claim.trace, began_ns=came_ns):
        pass


def _named(claim: Claim) -> traces.Attributes:
    kind = "run" if claim.id.startswith("run_") else "job"
    return {
        f"sightline.{kind}.id": claim.id,
        "sightline.attempt": claim.attempt,
        "sightline.class": claim.priority,
        "gen_ai.request.model": claim.model,
    }


def _log(claim: Claim, entry: Entry, took_s: float) -> None:
    usage = entry.usage
    log.info(
        "attempt ended",
        extra=fields(
            work=claim.id,
            attempt=claim.attempt,
            model=claim.model,
            caller=claim.caller,
            priority=claim.priority,
            outcome=entry.outcome,
            code=entry.code,
            wait_s=round(claim.waited_ms / 1000, 3),
            run_s=round(took_s, 3),
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
        ),
    )


# Counts how attempts end.

WORDS = {
    "succeeded": "succeeded",
    "admitted": "admitted",
    "failed": "failed",
    "format_violated": "format_violated",
    "lost": "lost",
    "attempt_failed": "retried",
}


class Series:
    """The metrics of one model, looked up once: each look-up costs as much as the counting."""

    def __init__(self, model: str) -> None:
        self.wait = WAIT.labels(model)
        self.run = RUN.labels(model)
        self.compute = COMPUTE.labels(model)
        self.reused = REUSED.labels(model)
        kinds = ("prompt", "picture", "sound", "cached", "completion")
        self.tokens = [TOKENS.labels(model, kind) for kind in kinds]


_series = cache(Series)


def word_of(outcome: str) -> str:
    """The counted outcome: every one that is not among the few counted ones gives the work back."""
    return WORDS.get(outcome, "given_back")


def count_attempt(lease: Lease, outcome: str, result: Result | None) -> None:
    """Call it once, at the end of an attempt; `outcome` as its job shows it, `result` if there is one."""
    claim, series = lease.claim, _series(lease.claim.model)
    ATTEMPTS.labels(claim.model, word_of(outcome)).inc()
    if claim.attempt == 1:
        series.wait.observe(claim.waited_ms / 1000)
    if result is not None:
        series.run.observe(lease.age_s)
        series.compute.observe(result.compute_s)
        _count_tokens(series, result.usage)


def _count_tokens(series: Series, usage: Usage) -> None:
    told = (
        usage.prompt_tokens,
        usage.image_tokens,
        usage.audio_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
    )
    for child, count in zip(series.tokens, told, strict=True):
        if count:
            child.inc(count)
    if usage.cached_tokens:
        series.reused.inc()


# A generation's attributes in OpenTelemetry's semantic conventions for generative AI.
#
# https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/

FIRST_TOKEN = "gen_ai.first_token"  # noqa: S105 - the name of an event


def name_of(request: Request) -> str:
    return f"{_operation(request)} {request.model}"


def asked(request: Request) -> Attributes:
    """The attributes of a request, without any of its content."""
    said = request.parameters
    wanted: dict[str, Value | None] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": "sightline",
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": said.max_new_tokens,
        "gen_ai.request.temperature": said.temperature,
        "gen_ai.request.top_p": said.top_p,
        "gen_ai.request.top_k": said.top_k,
        "gen_ai.request.frequency_penalty": said.frequency_penalty,
        "gen_ai.request.presence_penalty": said.presence_penalty,
        "gen_ai.request.seed": said.seed,
        "gen_ai.request.choice.count": said.n,
        "gen_ai.output.type": "json" if said.format and said.format.kind == "json" else "text",
        "sightline.pictures": len(request.images),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def answered(request: Request, result: Result) -> Attributes:
    usage = result.usage
    return {
        "gen_ai.response.model": request.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in result.choices],
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }


def _operation(request: Request) -> str:
    return "text_completion" if request.raw else "chat"
