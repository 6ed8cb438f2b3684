"""Reports each attempt: a line in the log at its end, and its part of the trace.

The trace has a span for the wait in line, one for the attempt, and below it one for each step. Neither log
nor trace holds a prompt, an answer or a URL.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.result import Usage
from shared.store.claims import Claim
from shared.telemetry import traces
from shared.telemetry.logs import about, fields

log = logging.getLogger(__name__)


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
        traces.span("attempt", _named(claim), kind="consumer", carrier=claim.trace) as span,
        about(trace_id=traces.trace_id()),
    ):
        entry = Entry()
        yield entry
        span.tell({"sightline.outcome": entry.outcome})
        if entry.code:
            span.fail(entry.code)
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
