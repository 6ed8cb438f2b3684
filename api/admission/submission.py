"""Admits requests of every dialect: each is queued, joined to a run, answered from the cache or refused."""

import time
from dataclasses import dataclass, field, replace

from api.admission import readiness
from api.admission.checks import paths_of, registered, rendered
from api.admission.media_check import Album, checked
from api.admission.readiness import model_state, not_ready
from api.files import Files, Storing
from api.server.memory_budget import Reservation
from shared import ids
from shared.batch import Place
from shared.blobs import Blobs, digest
from shared.cache_key import reusable
from shared.errors import CallerError, ServiceError
from shared.estimate import Lane
from shared.job import JobView, Priority, Times
from shared.media.sounds import check_accepts_sound
from shared.metrics.counters import ADMITTED
from shared.models import Model, Models
from shared.pending_terms import HeldTerms
from shared.request import Request, check_answer, check_end, check_text
from shared.settings import Settings
from shared.store import jobs
from shared.store.admission import NOW, JobTerms, Placing, Submitted, foretell, guess, known, submit
from shared.store.headroom import Headroom
from shared.store.keys import INTAKE
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore
from shared.telemetry import traces
from shared.tokens import cost
from shared.tool_calls.numbering import check_calls
from shared.webhooks import Webhook

LANE_FACTS_S = 1.0
"""How long the facts that a model's workers published are kept before they are read again."""


@dataclass(frozen=True)
class Terms:
    """What a caller asks for beside the request itself.

    `hf` marks the Hugging Face routes, whose page promises caching of unseeded sampling too; `prompt` the raw
    route, where a model without a chat template answers a single turn. `body_digest` covers method, path and
    body as received. `response` outlines a job that is one of OpenAI's responses. `must_be_ready` refuses
    with 503 while no worker serves. `max_queued` and `retain_s` are the limits in the caller's key, if any.
    The end of a `quiet` job goes to no endpoint and no log, because its caller waits for the answer.
    `line` is the line of a batch that the job answers. A job that is not `stored` is forgotten once its end
    was told, and shares its answer with nobody. `request_id` is that of the call, for logs and webhooks,
    where there was one.
    """

    caller: str
    use_cache: bool = True
    hf: bool = False
    prompt: bool = False
    idempotency_key: str | None = None
    body_digest: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    priority: Priority = "normal"
    times: Times = NOW
    retry_of: str | None = None
    response: str | None = None
    must_be_ready: bool = False
    max_queued: int | None = None
    webhook: Webhook | None = None
    quiet: bool = False
    stored: bool = True
    retain_s: int | None = None
    line: Place | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Examined:
    """A request that has passed every check but the line's, in the form in which the store takes it.

    `data` are the bytes, by digest, of the pictures and sounds that came with it. `pending` means that media
    must be fetched first, or that its scheduled time is still to come.
    """

    request: Request
    terms: Terms
    placing: Placing
    held: HeldTerms
    lane: Lane
    paths: dict[str, str]
    data: dict[str, bytes]
    pending: bool


class LinePassedError(Exception):
    """Another process has taken this line of a batch, or the batch takes no more lines."""


class Submission:
    """Admits requests; knows nothing of HTTP."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        store: AsyncStore,
        nudger: AsyncNudger,
        blobs: Blobs,
        files: Files,
        headroom: Headroom,
    ) -> None:
        self._settings = settings
        self._models = models
        self._store = store
        self._nudger = nudger
        self._album = Album(settings.pictures, blobs)
        self._storing = Storing(store, blobs)
        self._files = files
        self._headroom = headroom
        self._facts: dict[str, tuple[float, Lane]] = {}

    async def submit(self, request: Request, terms: Terms, reservation: Reservation | None = None) -> JobView:
        """Admit a request; returns its job, which may have ended already (a cache hit).

        `reservation` counts the call's memory, including what is read for it here.

        Raises CallerError (`model_not_found`, `no_chat_template`, `unsupported_parameter` for functions or
        sounds where the model takes none, `invalid_request`, `invalid_image`, `invalid_image_url`,
        `invalid_audio`, `payload_too_large`, `invalid_webhook_url`, `context_length_exceeded`,
        `idempotency_mismatch`, `job_purged`, `file_not_found`, `job_not_found` of a retry, `result_expired`),
        ModelFailed, Unavailable (`model_loading`, `no_worker`, `model_paused`, `model_draining`,
        `queue_full`, `caller_queue_full`, `store_unavailable`), LinePassedError.
        """
        model = self._models.recall(request.model)
        earlier = await self.repeated(terms)
        if earlier is not None:
            return earlier
        # A removed model takes nothing new.
        model = self._models.resolve(request.model)
        asked = await self.examined(request, terms, model, reservation)
        answer = await self._ask(asked)
        if answer.view is not None and answer.view.id == asked.placing.job:
            ADMITTED.labels(model.id, terms.priority, (answer.view.cache or "pending").lower()).inc()
        return await self._admitted(answer, terms, model)

    async def examined(
        self, request: Request, terms: Terms, model: Model, reservation: Reservation | None
    ) -> Examined:
        """The request, checked and ready for the store. Raises as `submit`, but for the line's refusals."""
        await self.check_room(terms.caller)
        lane = await self._lane(model)
        if lane.state == "failed":
            raise not_ready(model, model_state(model, lane))
        if request.model != model.id:
            request = request.model_copy(update={"model": model.id})
        request, paths = rendered(request, model, lane, prompt=terms.prompt), paths_of(request)
        check_calls(request, model.tools if lane.tools is None else lane.tools)
        check_accepts_sound(
            request, model.sampling_rate if lane.sampling_rate is None else lane.sampling_rate
        )
        request = await self._files.with_pictures(terms.caller, request, reservation)
        request, data, pixels = await checked(request, self._settings, self._album, reservation)
        check_text(request, self._settings.api.text_limit_kb)
        check_answer(request, model.context_length or lane.context_length)
        check_end(request)
        terms.times.check(self._now_ms(model))
        if terms.webhook is not None:
            terms = replace(terms, webhook=registered(terms.webhook, terms.caller, self._settings))
        samples = model.samples if lane.samples is None else lane.samples
        use_cache = terms.use_cache and terms.stored
        reuse = reusable(request, use_cache=use_cache, samples_default=samples, hf=terms.hf)
        pending = any(part.url for part in request.media) or terms.times.schedule_at is not None
        held = HeldTerms(
            lane=model.lane,
            revision=model.revision,
            priority=terms.priority,
            cost=cost(request, model, pixels),
            rows=request.parameters.rows(samples is not False),
            reuse=reuse,
        )
        shared = self._settings.queue.share_answers
        placing = held.placing(ids.job_id(), terms.caller, request, shared=shared, pending=pending)
        return Examined(request, terms, placing, held, lane, paths, data, pending=pending)

    async def check_room(self, caller: str) -> None:
        """Check that the record store has room for more from a caller.

        Raises Unavailable (`store_unavailable`, `caller_queue_full`).
        """
        await self._headroom.check()
        # Without keys everybody is one caller, who has nobody to leave room to.
        if self._settings.api.admin_key is not None:
            await self._headroom.check_share(caller, self._settings.retention.result_s)

    async def _ask(self, asked: Examined) -> Submitted:
        """The store's answer, after uploading the pictures that it asks for."""
        placing, terms = asked.placing, self._job_terms(asked)
        if asked.terms.quiet and asked.request.media:
            foreseen = foretell(placing, self._settings, pending=asked.pending, max_queued_caller=None)
            await self._storing.check_reading(foreseen)
        answer = await self._store.run(submit(placing, self._settings, terms, sent=asked.data))
        if answer.word == "pictures":
            if not asked.data.keys() >= set(answer.missing):
                raise CallerError("result_expired", "The pictures of this job are no longer kept.")
            await self._storing.write(placing.job, {name: asked.data[name] for name in answer.missing})
            answer = await self._store.run(submit(placing, self._settings, terms, uploaded=True))
        return answer

    def _job_terms(self, asked: Examined) -> JobTerms:
        terms = asked.terms
        return JobTerms(
            metadata=terms.metadata,
            paths=asked.paths,
            pending_terms=asked.held.model_dump_json(exclude_defaults=True) if asked.pending else None,
            idempotency=digest(terms.idempotency_key.encode()) if terms.idempotency_key else None,
            body_digest=terms.body_digest,
            must_be_ready=terms.must_be_ready,
            max_queued_caller=terms.max_queued,
            times=terms.times,
            retry_of=terms.retry_of,
            response=terms.response,
            webhook=terms.webhook,
            quiet=terms.quiet or terms.line is not None or not terms.stored,
            line=terms.line,
            stored=terms.stored,
            retain_s=self._retain_s(terms),
            request_id=terms.request_id or None,
            trace=traces.here() or None,
        )

    def _retain_s(self, terms: Terms) -> int | None:
        unstored_s = None if terms.stored else self._settings.retention.unstored_s
        return min((s for s in (terms.retain_s, unstored_s) if s is not None), default=None)

    async def repeated(self, terms: Terms) -> JobView | None:
        """The job of this Idempotency-Key: a repeat is not checked against what has changed since.

        None where the key is new. Raises CallerError `idempotency_mismatch`, `job_purged`, `result_expired`.
        """
        if terms.idempotency_key is None:
            return None
        key = digest(terms.idempotency_key.encode())
        answer = await self._store.run(known(self._settings, terms.caller, key, terms.body_digest))
        if answer is None:
            return None
        if answer.view is None:
            raise readiness.of_key(answer.word)
        return _kept(answer, answer.view)

    async def _admitted(self, answer: Submitted, terms: Terms, model: Model) -> JobView:
        if answer.word in ("queued", "intake"):
            await self._nudger.send([INTAKE if answer.word == "intake" else model.lane])
        if answer.view is not None:
            return _kept(answer, answer.view)
        raise await self.refusal_of(answer.word, terms, model)

    async def refusal_of(self, word: str, terms: Terms, model: Model) -> ServiceError:
        """The error for a request that the store made no job of. Raises LinePassedError."""
        if word in readiness.KEY_REFUSALS:
            return readiness.of_key(word)
        if word == "passed":
            raise LinePassedError
        lane = await self._store.run(jobs.lane(self._settings, model.lane))
        most_queued = terms.max_queued or self._settings.queue.max_queued_caller
        return readiness.of_line(word, model, lane, most_queued)

    async def _lane(self, model: Model) -> Lane:
        at, lane = self._facts.get(model.lane, (-1e9, None))
        if lane is None or time.monotonic() - at > LANE_FACTS_S:
            lane = await self._store.run(jobs.lane(self._settings, model.lane))
            if lane.load_guess_ms is None:
                await self._store.run(guess(model.lane, model.folder.load_guess_s))
            self._facts[model.lane] = (time.monotonic(), lane)
        return lane

    def _now_ms(self, model: Model) -> int:
        """Now by the store's clock, which deadlines use: this machine's may be wrong. Call `_lane` first."""
        at, lane = self._facts[model.lane]
        return lane.now_ms + int((time.monotonic() - at) * 1000)


def _kept(answer: Submitted, view: JobView) -> JobView:
    """The job of an answer. Raises CallerError `result_expired` where its result is no longer kept."""
    _trace(answer, view)
    if view.expired:
        raise readiness.of_key("expired")
    return view


def _trace(answer: Submitted, view: JobView) -> None:
    """Note what became of the request on its trace, with a link to an earlier request that computes it."""
    found = {
        "sightline.job.id": view.id,
        "gen_ai.request.model": view.model,
        "sightline.cache": view.cache or "",
    }
    traces.tell(found)
    traces.link(answer.trace)
