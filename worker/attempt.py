"""One attempt at a run, as a pipeline: read → decode → prepare → generate → settle.

Every way out of the middle becomes one of four outcomes in one place (`_outcome`), and one place writes it:

    Answered          settle succeeded
    JobError          settle failed (the caller's fault: trying again cannot help)
    Retry             give back, a failure is counted; the budget's last failure ends the run
    GiveBack | None   a draining worker, one cut off from the store, or one whose device broke gives the claim
                      back; a lost claim writes nothing
"""

import logging
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

from PIL.Image import Image as Picture

from shared.blobs import BlobMissingError, Blobs
from shared.errors import CallerError, Unavailable
from shared.piece import Piece
from shared.request import Image, Request
from shared.result import Choice, JobError, Result, Usage
from shared.reuse import reuse_scope
from shared.settings import Settings
from shared.store.claims import Claim, give_back, published, settle
from shared.store.nudges import Nudger
from shared.store.script import Store
from worker.engines.base import Cancelled, DeviceBroken, Engine, Prompt, Row
from worker.images import Decoder
from worker.lease import Lease, Leases, insist
from worker.stream import Publisher

log = logging.getLogger(__name__)
PREPARED_AT_ONCE = 2
"""Requests with pictures whose pixels are in memory at the same time; a picture is up to 50 MB of them."""


@dataclass(frozen=True)
class Retry:
    """The attempt failed in a way that another may not."""

    error: JobError


@dataclass(frozen=True)
class GiveBack:
    """The attempt ends through no fault of its run that is known.

    `died` = its worker ends of it too: that counts as a death, and what ends one worker after the other
    is found.
    """

    reason: str
    died: bool = False


@dataclass(frozen=True)
class Answered:
    """A result, and what readers of the stream have not been given of it."""

    result: Result
    rest: Piece | None


Outcome = Answered | JobError | Retry | GiveBack | None


@dataclass(frozen=True)
class Bench:
    """What every attempt of a worker works with."""

    settings: Settings
    store: Store
    nudger: Nudger
    blobs: Blobs
    decoder: Decoder
    engine: Engine
    publisher: Publisher
    leases: Leases
    preparing: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(PREPARED_AT_ONCE))


def attempt(bench: Bench, claim: Claim) -> None:
    """Run a claim to its outcome and write it."""
    with bench.leases.hold(claim) as lease:
        outcome = _outcome(bench, lease)
        _write(bench, lease, outcome)


def _outcome(bench: Bench, lease: Lease) -> Outcome:
    try:
        return _compute(bench, lease)
    except Cancelled:
        return GiveBack("worker_draining") if lease.reason == "draining" else None
    except Unavailable as error:
        return GiveBack(error.code)
    except DeviceBroken:
        log.error("run %s: the device broke; another worker may answer it", lease.claim.id)
        return GiveBack("device_broken", died=True)
    except CallerError as error:
        return JobError(code=error.code, message=error.message, param=error.param)
    except BlobMissingError:
        log.error("run %s: a picture is missing from the blob store", lease.claim.id)
        return Retry(JobError(code="internal_error", message="A stored picture is missing.", retryable=True))
    except Exception:
        # The outermost frame of an attempt: whatever an engine raises is the run's failure, not the worker's.
        log.exception("run %s: attempt %d failed", lease.claim.id, lease.claim.attempt)
        message = f"The model failed on this request {bench.settings.queue.max_failures} times."
        return Retry(JobError(code="attempts_exhausted", message=message, retryable=True))


def _compute(bench: Bench, lease: Lease) -> Answered | JobError:
    claim = lease.claim
    text, tokens = published(bench.store, claim.id) if claim.published else ("", ())
    if claim.mixed:
        return JobError(
            code="stream_broken", message="The model changed while this answer was streamed.", retryable=True
        )
    request = Request.model_validate_json(claim.request)
    grammar = bench.engine.grammar(request)
    with bench.preparing if request.images else nullcontext():
        started = time.monotonic()
        prompt = _prepared(bench, request, claim.caller)
        prepared_s = time.monotonic() - started
    channel = bench.publisher.channel(lease)
    row = Row(prompt, request.parameters, channel.emit, lease.cancel, tokens, text, grammar)
    finish = bench.engine.generate(row)
    choice = Choice(
        text=finish.text, finish_reason=finish.reason, score=finish.score, logprobs=finish.logprobs
    )
    result = Result(
        choices=(choice,),
        usage=Usage(
            prompt_tokens=prompt.tokens,
            completion_tokens=len(finish.ids),
            image_tokens=prompt.image_tokens,
            cached_tokens=finish.cached_tokens,
        ),
        fingerprint=bench.engine.fingerprint,
        compute_s=round(prepared_s + finish.compute_s, 6),
    )
    return Answered(result, channel.rest())


def _prepared(bench: Bench, request: Request, caller: str) -> Prompt:
    """Apart from generating, which may take minutes, so that nobody holds the pixels then."""
    pictures = [_decoded(bench, image, place) for place, image in enumerate(request.images)]
    scope = reuse_scope(caller, shared=bench.settings.queue.share_answers)
    return bench.engine.prepare(request, pictures, scope)


def _decoded(bench: Bench, image: Image, place: int) -> Picture:
    return bench.decoder.decode(bench.blobs.read(image.digest or ""), f"images[{place}]")


def _write(bench: Bench, lease: Lease, outcome: Outcome) -> None:
    """The only place that ends an attempt, and the only retried step."""
    claim = lease.claim
    if isinstance(outcome, Answered | JobError):
        ended, rest = (outcome.result, outcome.rest) if isinstance(outcome, Answered) else (outcome, None)
        call = settle(bench.settings, claim, ended, fingerprint=bench.engine.fingerprint, rest=rest)
        insist(bench.store.run, call, lease)
    elif isinstance(outcome, Retry | GiveBack):
        error = outcome.error if isinstance(outcome, Retry) else None
        reason = outcome.reason if isinstance(outcome, GiveBack) else "attempt_failed"
        died = isinstance(outcome, GiveBack) and outcome.died
        back = give_back(bench.settings, claim, reason=reason, error=error, died=died)
        lane = insist(bench.store.run, back, lease)
        if lane:
            bench.nudger.send(lane)
