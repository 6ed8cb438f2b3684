"""One attempt at a run, as a pipeline: read → decode → prepare → generate → settle.

Every way out of the middle becomes an outcome in one place (`_outcome`), and one place writes it:

    Answered          settle succeeded
    JobError          settle failed (the caller's fault: trying again cannot help)
    Retry             give back, a failure is counted; the budget's last failure ends the run
    Requeue | None    a draining worker, one cut off from the store, or one whose device broke gives the claim
                      back; a lost claim writes nothing
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from opentelemetry.trace import Span

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable
from shared.cache_key import reuse_scope
from shared.errors import CallerError, Unavailable
from shared.media.files import check_accepts
from shared.request import Request
from shared.result import JobError, Piece, Result
from shared.settings import Settings
from shared.store.claims import Again, Claim, ClaimReply, Settled, give_back, published, settle
from shared.store.nudges import Nudger
from shared.store.script import ScriptCall, Store
from shared.telemetry import traces
from worker import candidates
from worker.claim_loop import Lookahead
from worker.engines.base import Cancelled, DeviceBroken, Engine, Prompt
from worker.fair_semaphore import FairSemaphore, Waiter
from worker.lease import REFUSED, UNREADABLE_S, Lease, Leases, refused_end, retry_until_stored
from worker.media.blob_reader import BlobReader
from worker.media.picture_decoder import PictureDecoder
from worker.media.sound_decoder import SoundDecoder
from worker.media.video_decoder import VideoDecoder
from worker.publisher import Channel, Publisher
from worker.telemetry import attempt_log
from worker.telemetry.attempt_log import AttemptEntry, count_attempt, log_attempt

log = logging.getLogger("worker")


@dataclass(frozen=True)
class Retry:
    """The attempt failed, but another one may not; `missing` are digests that the blob store lacks.

    `error` is the run's if this was its last attempt; `cause` is this attempt's where that is another one.
    """

    error: JobError
    cause: JobError | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requeue:
    """The attempt ends through no known fault of its run.

    `died`: its worker ends with it, which counts as a death of the run, so that a run that ends one worker
    after the other is found.
    """

    reason: str
    died: bool = False


@dataclass(frozen=True)
class AttemptResult:
    """A result, and the part of it that is not in the stream yet.

    `work_s` sums the time of all its rows in the engine; `result.compute_s` is how long the caller waited.
    """

    result: Result
    rest: tuple[Piece, ...]
    work_s: float


Outcome = AttemptResult | JobError | Retry | Requeue | None


@dataclass(frozen=True)
class AttemptContext:
    """What every attempt of a worker works with."""

    settings: Settings
    store: Store
    nudger: Nudger
    blobs: Blobs
    picture_decoder: PictureDecoder
    sound_decoder: SoundDecoder
    video_decoder: VideoDecoder
    engine: Engine
    publisher: Publisher
    leases: Leases
    preparing: FairSemaphore
    lookahead: Lookahead


NextClaim = Callable[[], ScriptCall[ClaimReply] | None]


def attempt(context: AttemptContext, claim: Claim, next_claim: NextClaim = lambda: None) -> ClaimReply:
    """Run a claim to its outcome and write it, where it settles in one exchange with the next claim.

    Returns the reply to that; "again" where nothing was claimed.
    """
    with (
        context.leases.hold(claim) as lease,
        context.lookahead.until_begun(claim),
        log_attempt(claim) as entry,
    ):
        outcome = _outcome(context, lease)
        with traces.span("settle"):
            reply = _write(context, lease, outcome, next_claim)
        if lease.refused:
            outcome = Retry(REFUSED)
        _record(outcome, entry)
        end = entry.code if entry.code == candidates.FORMAT_VIOLATED else entry.outcome
        count_attempt(lease, end, outcome.result if isinstance(outcome, AttemptResult) else None)
    return reply


def _outcome(context: AttemptContext, lease: Lease) -> Outcome:
    try:
        return _compute(context, lease)
    except Cancelled:
        return Requeue("worker_draining") if lease.reason == "draining" else None
    except BlobsUnavailable as error:
        lease.cancel.wait(UNREADABLE_S)
        return Requeue(error.code)
    except Unavailable as error:
        return Requeue(error.code)
    except DeviceBroken:
        log.error("run %s: the device broke; another worker may answer it", lease.claim.id)
        return Requeue("device_broken", died=True)
    except CallerError as error:
        return JobError(code=error.code, message=error.message, param=error.param)
    except BlobMissingError as missing:
        log.error("run %s: a file is missing from the blob store", lease.claim.id)
        message = "A stored picture, sound or video is missing; send it again."
        return Retry(JobError(code="internal_error", message=message, retryable=True), missing=missing.names)
    except Exception as error:
        # The outermost frame of an attempt: whatever an engine raises is the run's failure, not the worker's.
        log.exception("run %s: attempt %d failed", lease.claim.id, lease.claim.attempt)
        message = f"The model failed on this request {context.settings.queue.max_failures} times."
        # Not the exception's text: it may show the machine, or another caller's request.
        cause = JobError(code="internal_error", message=f"The model failed with {type(error).__name__}.")
        return Retry(JobError(code="attempts_exhausted", message=message, retryable=True), cause)


def _compute(context: AttemptContext, lease: Lease) -> AttemptResult | JobError:
    claim = lease.claim
    earlier = published(context.store, claim.id) if claim.published else {}
    if claim.mixed:
        return JobError(
            code="stream_broken", message="The model changed while this answer was streamed.", retryable=True
        )
    request = Request.model_validate_json(claim.request)
    grammar = context.engine.grammar(request, claim.caller)
    facts = context.engine.facts
    check_accepts(request, facts.sampling_rate, facts.videos)
    waiter, started = Waiter(claim.caller), time.monotonic()
    prompt = _prepare(context, request, claim, waiter)
    prepared_s = time.monotonic() - started - waiter.waited_s
    context.lookahead.prepared(claim.token)
    names = {"syntax": prompt.syntax, "prompt_tokens": prompt.tokens}
    channels = context.publisher.channels(lease, request.parameters.n, **names)
    parameters = candidates.with_seed(request.parameters, context.engine, claim.id)
    on_begin = partial(context.lookahead.release, claim.token)
    rows = candidates.rows(prompt, parameters, grammar, channels, earlier, on_begin)
    with traces.span(f"chat {request.model}") as span:
        if span.is_recording():
            span.set_attributes(attempt_log.request_attributes(request))
        finishes = candidates.generate(context.engine, rows)
        result = candidates.result(context.engine, prompt, parameters, finishes, prepared_s)
        if span.is_recording():
            _trace_answer(span, request, result, channels)
    if error := candidates.format_error(request, result):
        return error
    rest = tuple(piece for channel in channels if (piece := channel.rest()))
    return AttemptResult(result, rest, work_s=prepared_s + sum(finish.compute_s for finish in finishes))


def _prepare(context: AttemptContext, request: Request, claim: Claim, waiter: Waiter) -> Prompt:
    """Separate from generating, which may take minutes, so that the pixels are freed before."""
    shared = context.settings.queue.share_answers
    scope = reuse_scope(claim.caller, shared=shared) if claim.stored else None
    if not request.media:
        with traces.span("prepare"):
            return context.engine.prepare(request, (), scope)
    with ExitStack() as stack:
        with context.preparing.reserve(1, waiter), traces.span("fetch"):
            pictures, sounds, videos = (
                BlobReader(context.blobs, [part.digest or "" for part in parts])
                for parts in (request.images, request.sounds, request.videos)
            )
            memory = context.picture_decoder.memory(pictures, request.shown)
        # Large pictures wait for other processes, so they wait while they hold nothing of this one.
        with traces.span("decode"), context.picture_decoder.place(memory, waiter):
            stack.enter_context(context.preparing.reserve(1, waiter))
            samples = context.sound_decoder.decode(sounds, context.engine.facts.sampling_rate)
            images = stack.enter_context(context.picture_decoder.decode(pictures, waiter, request.shown))
            sample = partial(context.engine.sample, request.parameters)
            frames = stack.enter_context(context.video_decoder.decode(videos, sample, waiter))
        with traces.span("prepare"):
            return context.engine.prepare(request, images, scope, samples, frames)


def _trace_answer(span: Span, request: Request, result: Result, channels: Sequence[Channel]) -> None:
    starts = [channel.began_ns for channel in channels if channel.began_ns is not None]
    if starts:
        span.add_event(attempt_log.FIRST_TOKEN, timestamp=min(starts))
    span.set_attributes(attempt_log.result_attributes(request, result))


def _record(outcome: Outcome, entry: AttemptEntry) -> None:
    """Record the outcome for the log and the trace."""
    match outcome:
        case AttemptResult(result=result):
            entry.outcome, entry.usage = "succeeded", result.usage
        case JobError(code=code):
            entry.outcome, entry.code = "failed", code
        case Retry(error=error):
            entry.outcome, entry.code = "attempt_failed", error.code
        case Requeue(reason=reason):
            entry.outcome = reason


def _write(context: AttemptContext, lease: Lease, outcome: Outcome, next_claim: NextClaim) -> ClaimReply:
    """The only place that ends an attempt, and the only retried step."""

    def settle_and_claim(settling: ScriptCall[Any]) -> list[Any]:
        claiming = next_claim()
        return context.store.run_all([settling, claiming] if claiming else [settling])

    claim, replies = lease.claim, list[Any]()
    if isinstance(outcome, AttemptResult | JobError):
        call, refused = _settle_call(context, claim, outcome), refused_end(context.settings, claim)
        settled, *replies = retry_until_stored(settle_and_claim, call, lease, refused) or ["lost"]
        while settled == "again":
            settled = retry_until_stored(context.store.run, call, lease, refused)
    elif isinstance(outcome, Retry | Requeue):
        lane = retry_until_stored(context.store.run, _requeue_call(context, claim, outcome), lease)
        if lane:
            context.nudger.send(lane)
    return replies[0] if replies else "again"


def _requeue_call(context: AttemptContext, claim: Claim, outcome: Retry | Requeue) -> ScriptCall[str | None]:
    if isinstance(outcome, Requeue):
        return give_back(context.settings, claim, reason=outcome.reason, error=None, died=outcome.died)
    return give_back(
        context.settings,
        claim,
        reason="attempt_failed",
        error=outcome.error,
        cause=outcome.cause,
        missing=outcome.missing,
    )


def _settle_call(
    context: AttemptContext, claim: Claim, outcome: AttemptResult | JobError
) -> ScriptCall[Settled | Again]:
    fingerprint = context.engine.fingerprint
    if isinstance(outcome, JobError):
        return settle(context.settings, claim, outcome, fingerprint=fingerprint)
    return settle(
        context.settings,
        claim,
        outcome.result,
        fingerprint=fingerprint,
        rest=outcome.rest,
        work_s=outcome.work_s,
    )
