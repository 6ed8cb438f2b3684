"""Reports each attempt: a line in the log at its end, and its part of the trace.

The trace has a span for the wait in the queue, one for the attempt, and below it one for each step. Neither
log nor trace holds a prompt, an answer or a URL.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from shared.metrics.worker_counters import ATTEMPTS, COMPUTE, REUSED, RUN, TOKENS, WAIT
from shared.request import Request
from shared.result import Result, Usage
from shared.store.claims import Claim
from shared.store.keys import INTAKE
from shared.telemetry import traces
from shared.telemetry.logs import about, fields
from shared.telemetry.traces import Attributes, Value
from worker.lease import Lease

log = logging.getLogger("worker.telemetry")
FIRST_TOKEN = "gen_ai.first_token"  # noqa: S105 - the name of an event
COUNTED_OUTCOMES = {
    "succeeded": "succeeded",
    "admitted": "admitted",
    "failed": "failed",
    "format_violated": "format_violated",
    "lost": "lost",
    "attempt_failed": "retried",
    "store_unavailable": "retried",
}


@dataclass
class AttemptEntry:
    """How an attempt ended: `outcome` as the job shows it among its attempts, and an error's `code`."""

    outcome: str = "lost"
    code: str = ""
    usage: Usage | None = None


@contextmanager
def log_attempt(claim: Claim) -> Iterator[AttemptEntry]:
    """Wraps an attempt at a run or at fetching a job's inputs; reports at the end how it went."""
    began = time.monotonic()
    _trace_wait(claim)
    with (
        traces.span("attempt", _claim_attributes(claim), kind=SpanKind.CONSUMER, carrier=claim.trace) as span,
        about(request_id=claim.request_id, trace_id=traces.trace_id()),
    ):
        entry = AttemptEntry()
        yield entry
        span.set_attributes({"sightline.outcome": entry.outcome})
        if entry.code:
            traces.fail(span, entry.code)
        _log(claim, entry, time.monotonic() - began)


def log_requeued(claim: Claim, outcome: str, took_s: float) -> None:
    """Logs an attempt that is requeued because its thread hangs; its trace stays without its span."""
    with about(request_id=claim.request_id):
        _log(claim, AttemptEntry(outcome), took_s)


def _trace_wait(claim: Claim) -> None:
    if not claim.trace:
        return
    queued_ns = time.time_ns() - claim.waited_ms * 1_000_000
    with traces.span("wait in line", _claim_attributes(claim), carrier=claim.trace, began_ns=queued_ns):
        pass


def _claim_attributes(claim: Claim) -> traces.Attributes:
    kind = "job" if claim.lane == INTAKE else "run"
    return {
        f"sightline.{kind}.id": claim.id,
        "sightline.attempt": claim.attempt,
        "sightline.class": claim.priority,
        "gen_ai.request.model": claim.model,
    }


def _log(claim: Claim, entry: AttemptEntry, took_s: float) -> None:
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


def counted_outcome(outcome: str) -> str:
    """The counted outcome: every one that is not among the few counted ones gives the work back."""
    return COUNTED_OUTCOMES.get(outcome, "given_back")


def count_attempt(lease: Lease, outcome: str, result: Result | None) -> None:
    """Call it once, at the end of an attempt; `outcome` as its job shows it, `result` if there is one."""
    claim, model = lease.claim, lease.claim.model
    ATTEMPTS.labels(model, counted_outcome(outcome)).inc()
    if claim.attempt == 1:
        WAIT.labels(model).observe(claim.waited_ms / 1000)
    if result is not None:
        RUN.labels(model).observe(lease.age_s)
        COMPUTE.labels(model).observe(result.compute_s)
        _count_tokens(model, result.usage)


def _count_tokens(model: str, usage: Usage) -> None:
    counts = {
        "prompt": usage.prompt_tokens,
        "picture": usage.image_tokens,
        "sound": usage.audio_tokens,
        "cached": usage.cached_tokens,
        "completion": usage.completion_tokens,
    }
    for kind, count in counts.items():
        TOKENS.labels(model, kind).inc(count)
    if usage.cached_tokens:
        REUSED.labels(model).inc()


def request_attributes(request: Request) -> Attributes:
    """By OpenTelemetry's conventions for generative AI, without any content.

    https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
    """
    parameters = request.parameters
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sightline",
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": parameters.max_new_tokens,
        "gen_ai.request.temperature": parameters.temperature,
        "gen_ai.request.top_p": parameters.top_p,
        "gen_ai.request.top_k": parameters.top_k,
        "gen_ai.request.frequency_penalty": parameters.frequency_penalty,
        "gen_ai.request.presence_penalty": parameters.presence_penalty,
        "gen_ai.request.seed": parameters.seed,
        "gen_ai.request.choice.count": parameters.n,
        "gen_ai.output.type": "json" if parameters.format and parameters.format.kind == "json" else "text",
        "sightline.pictures": len(request.images),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def result_attributes(request: Request, result: Result) -> Attributes:
    usage = result.usage
    return {
        "gen_ai.response.model": request.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in result.choices],
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }
