"""Admits requests of every dialect: each is queued, joined to a run, answered from the cache or refused."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from prometheus_client import Counter

from api.admission.cached_answers import CachedAnswer, CachedAnswers, trace
from api.admission.checks import check_finish_by, check_request, webhook_target
from api.admission.documents import Documents
from api.admission.media_check import PictureInfoCache, check_counts_and_urls, check_media
from api.admission.readiness import IDEMPOTENCY_ERRORS, idempotency_error, model_state, not_ready, refusal
from api.auth.callers import Caller
from api.files import Files, FileWriter
from api.server.memory_budget import Reservation
from shared import ids
from shared.blobs import Blobs, BlobsUnavailable, digest
from shared.cache_key import reusable
from shared.errors import CallerError, ServiceError, Unavailable
from shared.estimate import Lane
from shared.job import CacheWord, JobView, Priority
from shared.media.documents import with_page
from shared.metrics.api_counters import ADMITTED
from shared.models import Model, Models
from shared.pending_terms import PendingTerms
from shared.request import Request
from shared.settings import Settings
from shared.store import jobs
from shared.store.acknowledgement import StoreUnreachable
from shared.store.admission import JobTerms, Placing, Submitted, guess, known, predict, submit
from shared.store.headroom import Headroom
from shared.store.keys import INTAKE
from shared.store.nudges import MOST, AsyncNudger
from shared.store.script import AsyncStore
from shared.telemetry import traces
from shared.tokens import cost, room
from shared.value_object import value_object
from shared.webhooks import Webhook

LANE_FACTS_S = 1.0
"""How long the facts that a model's workers published are cached."""


@value_object
class Idempotency:
    """An Idempotency-Key, and the digest of method, path and body that a repeat must have too."""

    key: str
    body_digest: str


@value_object
class Origin:
    """Where a job comes from: the HTTP call (for logs and webhooks), the job that it retries, a batch, or an
    OpenAI response, whose outline is JSON. The job of a `batch`'s line has the id `line`; the batch needs its
    answer until `line_till` (Unix ms).
    """

    request_id: str = ""
    retry_of: str | None = None
    line: str | None = None
    line_till: int = 0
    batch: str | None = None
    response: str | None = None


@value_object
class Terms:
    """`synchronous`: its caller waits for the answer, so the end goes to no default webhook.

    `cached`: an answer in the cache will do without a job, whole or with its texts. `reuse_sampled` marks the
    Hugging Face routes, whose page promises caching of unseeded sampling too. A job that is not `stored` is
    forgotten once its end was reported, and shares its answer with nobody. `must_be_ready` refuses with 503
    while no worker serves.
    """

    caller: Caller
    idempotency: Idempotency | None = None
    use_cache: bool = True
    reuse_sampled: bool = False
    stored: bool = True
    priority: Priority = "normal"
    finish_by_ms: int | None = None
    must_be_ready: bool = False
    origin: Origin = Origin()
    metadata: dict[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    synchronous: bool = False
    cached: Literal["whole", "texts"] | None = None


@value_object
class CheckedRequest:
    """A request that has passed every check but the queue's, in the form in which the store takes it.

    `data` are the bytes, by digest, of the media that came with it. `pending` = media must be fetched first.
    `target` is as of `webhook_target`.
    """

    request: Request
    terms: Terms
    placing: Placing
    pending_terms: PendingTerms
    lane: Lane
    paths: dict[str, str]
    data: dict[str, bytes]
    pending: bool
    target: Webhook | str | None = None


class UnknownAdmission(Unavailable):
    """The store did not say whether it took `job`."""

    def __init__(self, job: str, error: Unavailable) -> None:
        super().__init__(error.code, error.message, retry_after=error.retry_after)
        self.job = job


@dataclass(eq=False, repr=False)
class Submission:
    """Admits requests; knows nothing of HTTP."""

    settings: Settings
    models: Models
    store: AsyncStore
    nudger: AsyncNudger
    blobs: Blobs
    pictures: PictureInfoCache
    files: Files
    headroom: Headroom
    cached_answers: CachedAnswers
    documents: Documents

    def __post_init__(self) -> None:
        self._storing = FileWriter(self.store, self.blobs)
        self._lanes: dict[str, tuple[float, Lane]] = {}

    async def submit(self, request: Request, terms: Terms, reservation: Reservation | None = None) -> JobView:
        """Admit a request; returns its job, which may have ended already (a cache hit), or a CachedAnswer.

        `reservation` counts the call's memory, including what is read for it here.

        Raises CallerError (`model_not_found`, `unsupported_parameter` for functions or
        sounds or videos where the model takes none, `invalid_request`, `invalid_image`, `invalid_image_url`,
        `invalid_audio`, `invalid_document`, `invalid_video`, `payload_too_large`, `invalid_webhook_url`,
        `context_length_exceeded`, `idempotency_mismatch`, `job_purged`, `file_not_found`, `job_not_found` of
        a retry, `result_expired`), ModelFailed, Unavailable (`model_loading`, `no_worker`, `model_paused`,
        `model_draining`, `queue_full`, `caller_queue_full`, `store_unavailable`).
        """
        self.models.recall(request.model)
        earlier = await self.repeated_job(terms)
        if earlier is not None:
            return earlier
        # A removed model takes nothing new.
        model = self.models.resolve(request.model)
        checked = await self.check(request, terms, model, reservation)
        answer = await self._cached_answer(checked)
        if answer is not None:
            return answer
        await self.check_room(terms.caller.id)
        try:
            reply = await self._store_request(checked)
        except StoreUnreachable as error:
            raise UnknownAdmission(checked.placing.job, error) from error
        job = reply.view
        if job is None:
            raise await self.refusal_for(reply.word, checked, model)
        if job.id == checked.placing.job:
            _admitted(model.id, terms.priority, job.cache).inc()
        if reply.word == "intake" or (reply.word == "queued" and (job.ahead or 0) < MOST):
            # Its caller need not wait for that: idle workers look for themselves, too.
            self.nudger.send([INTAKE if reply.word == "intake" else model.lane])
        return _unexpired(reply, job)

    async def repeated_job(self, terms: Terms) -> JobView | None:
        """The job of this Idempotency-Key: a repeat is not checked against what has changed since.

        None where the key is new. Raises CallerError `idempotency_mismatch`, `job_purged`, `result_expired`.
        """
        if terms.idempotency is None:
            return None
        key = digest(terms.idempotency.key.encode())
        call = known(self.settings, terms.caller.id, key, terms.idempotency.body_digest)
        reply = await self.store.run(call)
        if reply is None:
            return None
        if reply.view is None:
            raise idempotency_error(reply.word)
        return _unexpired(reply, reply.view)

    async def check(
        self, request: Request, terms: Terms, model: Model, reservation: Reservation | None
    ) -> CheckedRequest:
        """The request, ready for the store. Raises as `submit`, but for the queue's refusals."""
        lane, now_ms = await self._lane(model)
        if lane.state == "failed":
            raise not_ready(model, model_state(model, lane))
        check_counts_and_urls(request, model, self.settings, terms.caller.id)
        counted = request.media
        request = await self.files.with_kinds(terms.caller.id, request.for_model(model.id))
        request = check_request(request, model, lane, self.settings)
        data, pixels = dict[str, bytes](), 0
        if request.documents:
            most = model.max_pictures
            request = await self.documents.with_pages(terms.caller.id, request, most, reservation)
        paths = request.paths
        if request.media:
            if request.media != counted:
                check_counts_and_urls(request, model, self.settings, terms.caller.id)
            request = await self.files.with_files(terms.caller.id, request, reservation)
            request, data, pixels = await check_media(request, self.settings, self.pictures, reservation)
        check_finish_by(terms.finish_by_ms, now_ms)
        pending_terms = _pending_terms(request, terms, model, lane, pixels)
        pending = any(part.url for part in request.media)
        shared = self.settings.queue.share_answers
        job = terms.origin.line or ids.job_id()
        placing = pending_terms.placing(job, terms.caller.id, request, shared=shared, pending=pending)
        target = self._target(terms)
        return CheckedRequest(request, terms, placing, pending_terms, lane, paths, data, pending, target)

    def _target(self, terms: Terms) -> Webhook | str | None:
        """Return where the job's events go. Waiting callers and lines of batches have no default webhook."""
        if terms.webhook is None and (terms.synchronous or terms.origin.line or not terms.stored):
            return None
        return webhook_target(terms.webhook, terms.caller, self.settings)

    async def check_pages(
        self, request: Request, caller: Caller, reservation: Reservation | None
    ) -> Sequence[int]:
        """The pages that the request's document is asked about, after the checks of its first.

        Raises as `submit`, but for the queue's refusals.
        """
        model = self.models.resolve(request.model)
        most = self.settings.documents.max_pages
        numbers, first = await self.documents.first_page(caller.id, request.documents[0], most)
        await self.check(with_page(request, first), Terms(caller), model, reservation)
        return numbers

    async def check_room(self, caller: str) -> None:
        """Check that the record store has room for more from a caller.

        Raises Unavailable (`store_unavailable`, `caller_queue_full`).
        """
        await self.headroom.check()
        # Without keys everybody is one caller, who has nobody to leave room to.
        if self.settings.api.admin_key is not None:
            await self.headroom.check_share(caller)

    async def refusal_for(self, word: str, checked: CheckedRequest, model: Model) -> ServiceError:
        """The error for a request that the store made no job of."""
        if word in IDEMPOTENCY_ERRORS:
            return idempotency_error(word)
        if word == "memory":
            return self.headroom.full(checked.placing.room)
        lane = await self.store.run(jobs.lane(self.settings, model.lane))
        most_queued = checked.terms.caller.max_queued or self.settings.queue.max_queued_caller
        return refusal(word, model, lane, most_queued)

    async def _cached_answer(self, checked: CheckedRequest) -> CachedAnswer | None:
        """The answer where it is in the cache and the caller asked for nothing more."""
        terms, placing = checked.terms, checked.placing
        if terms.cached is None or terms.idempotency or terms.metadata or not placing.key or checked.pending:
            return None
        with_texts = terms.cached == "texts"
        return await self.cached_answers.find(placing, texts=with_texts, retain_s=self._retain_s(terms))

    async def _store_request(self, checked: CheckedRequest) -> Submitted:
        """The store's reply, after uploading the pictures that it asks for."""
        placing, terms = checked.placing, self._job_terms(checked)
        if checked.terms.synchronous and checked.request.media:
            forecast = predict(placing, self.settings, pending=checked.pending, max_queued_caller=None)
            # No worker can read the blobs: then only an earlier answer will do.
            unread = await self.blobs.reach() == "unreachable"
            if unread and (await self.store.run(forecast)).word != "hit":
                raise BlobsUnavailable("read")
        reply = await self.store.run(
            submit(placing, self.settings, terms, sent=checked.data, spare=self.headroom.spare)
        )
        if reply.word != "pictures":
            return reply
        if not checked.data.keys() >= set(reply.missing):
            raise CallerError("result_expired", "The pictures of this job are no longer kept.")
        data = {name: checked.data[name] for name in reply.missing}
        await self._storing.write(placing.job, data, reply.unheld)
        return await self.store.run(submit(placing, self.settings, terms, uploaded=True))

    def _job_terms(self, checked: CheckedRequest) -> JobTerms:
        terms, pending_terms = checked.terms, checked.pending_terms
        idempotency, origin = terms.idempotency, terms.origin
        return JobTerms(
            metadata=terms.metadata,
            paths=checked.paths,
            pending_terms=pending_terms.model_dump_json(exclude_defaults=True) if checked.pending else None,
            idempotency=digest(idempotency.key.encode()) if idempotency else None,
            body_digest=idempotency.body_digest if idempotency else "",
            must_be_ready=terms.must_be_ready,
            max_queued_caller=terms.caller.max_queued,
            finish_by_ms=terms.finish_by_ms,
            retry_of=origin.retry_of,
            response=origin.response,
            webhook=checked.target,
            line=origin.line_till if origin.line else None,
            batch=origin.batch,
            stored=terms.stored,
            retain_s=self._retain_s(terms),
            request_id=origin.request_id or None,
            call_id=_call_id(checked) if terms.synchronous and not terms.idempotency else None,
            trace=traces.here() or None,
        )

    def _retain_s(self, terms: Terms) -> int | None:
        unstored_s = None if terms.stored else self.settings.retention.unstored_s
        return min((s for s in (terms.caller.retain_s, unstored_s) if s is not None), default=None)

    async def _lane(self, model: Model) -> tuple[Lane, int]:
        """The facts about a model's queue, and now by the store's clock, which deadlines use."""
        read_at, lane = self._lanes.get(model.lane, (-1e9, None))
        if lane is None or time.monotonic() - read_at > LANE_FACTS_S:
            lane = await self.store.run(jobs.lane(self.settings, model.lane))
            if lane.load_guess_ms is None:
                await guess(self.store, model.lane, model.folder.load_guess_s)
            read_at = time.monotonic()
            self._lanes[model.lane] = read_at, lane
        return lane, lane.now_ms + int((time.monotonic() - read_at) * 1000)


@lru_cache(1024)
def _admitted(model: str, priority: Priority, cache: CacheWord | None) -> Counter:
    return ADMITTED.labels(model, priority, (cache or "pending").lower())


def _pending_terms(request: Request, terms: Terms, model: Model, lane: Lane, pixels: int) -> PendingTerms:
    """What decides where the request goes once its inputs are there; of a picture to be fetched no pixels."""
    samples = model.samples if lane.samples is None else lane.samples
    use_cache, hf = terms.use_cache and terms.stored, terms.reuse_sampled
    return PendingTerms(
        lane=model.lane,
        revision=model.revision,
        priority=terms.priority,
        cost=cost(request, model, pixels),
        rows=request.parameters.rows(samples is not False),
        room=room(request, model),
        max_pictures=model.max_pictures,
        reuse=reusable(request, use_cache=use_cache, samples_default=samples, hf=hf),
    )


def _call_id(checked: CheckedRequest) -> str:
    """A digest of all that a waiting call asks. Nobody else's is found by it: the store looks by caller."""
    terms, placing = checked.terms, checked.placing
    caching = terms.use_cache, terms.reuse_sampled, terms.stored
    asked = caching, terms.metadata, terms.origin.response, placing.priority, placing.lane
    return digest(f"{asked}\n{placing.request}".encode())


def _unexpired(reply: Submitted, job: JobView) -> JobView:
    """The job of a reply, noted on the request's trace.

    Raises CallerError `result_expired` where its result is no longer kept.
    """
    trace(job, reply.trace)
    if job.expired:
        raise idempotency_error("expired")
    return job
