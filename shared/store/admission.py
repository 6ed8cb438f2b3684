"""The door's transitions: a job comes in, with its inputs or before them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic_core import to_json

from shared.estimate import Lane
from shared.job import JobView, Priority, Question
from shared.result import Result
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.files import HOLD_S
from shared.store.jobs import EVENT_PAGE_BYTES
from shared.store.keys import PREFIX, digests
from shared.store.script import AsyncStore, ScriptCall, store_errors
from shared.value_object import value_object
from shared.webhooks import Webhook

ROOM = 6 * 2**10
"""Bytes of an answer of about a hundred tokens with its events."""

Refusal = Literal["removed", "draining", "unready", "paused", "full", "crowded", "memory"]
Repeat = Literal["known", "mismatch", "purged", "expired"]
Word = Literal["queued", "intake", "pictures", "gone", Repeat, Refusal]


@value_object
class Placing:
    """What decides where an admitted job's request goes.

    `key` is the reuse key (scope and request hash; None = neither hit nor
    join), `blobs` the digests of its pictures, `cost` what its caller is charged in line (shared/tokens.py),
    `request` its JSON, `rows` how many its answers take (`Parameters.rows`), `room` the bytes that they may
    take in the store (`shared.tokens.room`). Where it is stored, lists show the beginning of its `question`
    and how many `pictures` it has.
    """

    job: str
    caller: str
    model: str
    lane: str
    priority: Priority
    hash: str
    key: str | None
    blobs: Sequence[str]
    cost: int
    request: str
    rows: int = 1
    room: int = ROOM
    question: str | None = None
    pictures: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        rows = self.rows if self.rows > 1 else None
        changed = {"blobs": " ".join(self.blobs) or None, "rows": rows, "pictures": self.pictures or None}
        return {**vars(self), **changed, "request": None}


@value_object
class Submitted:
    """What `submit` answered: `view` with queued, intake and known, `missing` digests with pictures.

    Those that are not `unheld` are held for an upload of the job, as by `touch`.
    `trace` is the carrier (shared/telemetry/traces.py) of the job whose answer it shares, where there is one.
    """

    word: Word
    view: JobView | None = None
    missing: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    trace: str = ""


@value_object
class JobTerms:
    """What a job is, beside its request.

    `paths` are the caller's own names of what a worker's error may name (`images[0]`, `messages`, …).
    `pending_terms` (JSON for the courier) is set where inputs must be fetched first.
    `retry_of` is the job that this one retries, `response` (JSON) what it shows as one of OpenAI's responses.
    `max_queued_caller` overrides the setting of that name. The address guard gave `webhook` its host; an API
    key's id stands for its default webhook. The job of a `batch`'s `line` has a share of the queue, and is
    read by its batch until then (Unix ms), or for as long as by others (0). `retain_s` overrides how long the
    settings keep the job and its answer. A job that is not `stored` is in no list, and `purge` forgets it
    once its caller has read its end. `request_id` is that of the call, `trace` its place in a trace (a
    carrier of shared/telemetry/traces.py). By `call_id` a caller who hung up finds it again.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    pending_terms: str | None = None
    idempotency: str | None = None
    body_digest: str = ""
    must_be_ready: bool = False
    max_queued_caller: int | None = None
    finish_by_ms: int | None = None
    retry_of: str | None = None
    response: str | None = None
    webhook: Webhook | str | None = None
    line: int | None = None
    batch: str | None = None
    retain_s: int | None = None
    stored: bool = True
    request_id: str | None = None
    trace: str | None = None
    call_id: str | None = None

    def arguments(self, settings: Settings) -> dict[str, Any]:
        return {
            "metadata": _to_json(self.metadata) if self.metadata else None,
            "pairs": " ".join(digests(self.metadata)) or None,
            "paths": _to_json(self.paths) if self.paths else None,
            "pending": self.pending_terms is not None or None,
            "terms": self.pending_terms,
            "idempotency": self.idempotency,
            "digest": self.body_digest or None,
            "must_be_ready": self.must_be_ready or None,
            "max_queued_caller": self.max_queued_caller or settings.queue.max_queued_caller,
            "retry_of": self.retry_of,
            "response": self.response,
            "hook": hook_fields(self.webhook) if self.webhook else None,
            "retain_s": self.retain_s,
            "unstored": None if self.stored else 1,
            "request_id": self.request_id,
            "trace": self.trace,
            "call_id": self.call_id,
            "line": self.line,
            "batch": self.batch,
            "finish_by": self.finish_by_ms,
        }


PLAIN = JobTerms()


def submit(
    placing: Placing,
    settings: Settings,
    terms: JobTerms = PLAIN,
    *,
    sent: Collection[str] = (),
    uploaded: bool = False,
    spare: int | None = None,
) -> ScriptCall[Submitted]:
    """Admit a request or learn why not.

    `uploaded` = its pictures are written and held; without it the answer may be `pictures`: upload those,
    submit again. A picture `sent` with its bytes is asked for unless its caller holds it already; where one
    is asked for, all of the request's are held at once.
    `spare` is `Headroom.spare`.
    """
    arguments = {**placing.arguments, **terms.arguments(settings), "spare": spare}
    arguments |= {
        "sent": " ".join(sent) or None,
        "hold_s": HOLD_S if sent else None,
        "uploaded": uploaded or None,
    }

    def parse(reply: list[Any]) -> Submitted:
        if reply[0] != "queued":
            return _submitted(reply)
        return Submitted("queued", _queued(placing, terms, views.lane(reply[1]), *reply[2:]))

    return ScriptCall("submit", arguments, parse, placing.request, _size, constants(settings))


def _queued(placing: Placing, terms: JobTerms, lane: Lane, hook: list[str | None] | None = None) -> JobView:
    """A job in line: all but its place there is known from its submission."""
    return JobView(
        id=placing.job,
        caller=placing.caller,
        model=placing.model,
        status="queued",
        created_ms=lane.now_ms,
        run_id=placing.job,
        cache="MISS" if placing.key else "BYPASS",
        request_hash=placing.hash,
        metadata=dict(terms.metadata),
        priority=placing.priority,
        finish_by_ms=terms.finish_by_ms,
        retry_of=terms.retry_of,
        response=terms.response,
        stored=terms.stored,
        last_event=1,
        question=_question(placing) if terms.stored else None,
        hook=views.webhook(hook) if hook else None,
        **views.waiting(lane, placed=True, state="queued"),
    )


def _question(placing: Placing) -> Question | None:
    return None if placing.question is None else Question(placing.question, placing.pictures)


def _to_json(pairs: Mapping[str, str]) -> str:
    """JSON without escapes, which would take up to three times the bytes while the record lives."""
    return to_json(dict(pairs)).decode()


def hook_fields(webhook: Webhook | str) -> dict[str, str]:
    """The fields of a `:hook` record: of a webhook, or of the default one of the API key with this id."""
    if isinstance(webhook, str):
        return {"key": webhook}
    fields = {"url": webhook.url, "host": webhook.host, "events": " ".join(webhook.events)}
    if webhook.secret:
        return fields | {"secret": webhook.secret.get_secret_value()}
    return fields | ({"key": webhook.key} if webhook.key else {})


@dataclass(frozen=True)
class Prediction:
    """What `predict` answered; `lane.ahead` counts who is ahead, `state` its leader's, if it would follow."""

    word: Literal["hit", "joins"] | Word
    lane: Lane
    state: str


def predict(
    placing: Placing, settings: Settings, *, pending: bool, max_queued_caller: int | None
) -> ScriptCall[Prediction]:
    """What `submit` would answer now; nothing changes."""
    arguments = placing.arguments | {
        "pending": pending or None,
        "max_queued_caller": max_queued_caller or settings.queue.max_queued_caller,
    }

    def parse(reply: list[Any]) -> Prediction:
        return Prediction(reply[0], views.lane(reply[1]), reply[2])

    return ScriptCall("predict", arguments, parse, constants=constants(settings))


def known(
    settings: Settings, caller: str, idempotency: str, body_digest: str
) -> ScriptCall[Submitted | None]:
    """The answer that an idempotency key got before; None where the key is new."""
    arguments = {"caller": caller, "idempotency": idempotency, "digest": body_digest}

    def parse(reply: list[Any] | None) -> Submitted | None:
        return _submitted(reply) if reply else None

    return ScriptCall("known", arguments, parse, size=_size, constants=constants(settings))


@value_object
class Cached:
    """An answer in the cache: `own_job` is the caller's own job that computed it, where there is one.

    It was read at `now_ms` and is kept for `left_ms` more. `texts` are the data of its text events,
    `trace` as in `Submitted`.
    """

    result: Result
    run: str
    own_job: str | None
    trace: str
    now_ms: int
    left_ms: int
    texts: tuple[dict[str, Any], ...]
    bytes: int


def cached(placing: Placing, settings: Settings, *, texts: bool) -> ScriptCall[Cached | None]:
    """The cached answer of a request; None where there is none, or its `texts` are too many to hold."""

    def parse(reply: list[Any] | None) -> Cached | None:
        if not reply:
            return None
        result, origin, job, created, changed, now_ms, datas = reply
        try:
            answer, fields = views.read_result(result, origin), views.record((created, changed))
            own = fields["caller"] == placing.caller and _can_be_read(fields, now_ms)
            left_ms = fields["kept"] - now_ms
            texts, trace = tuple(json.loads(datas)), fields.get("trace", "")
        except (ValueError, LookupError, TypeError):
            return None  # a job is made, as if there were none
        if answer is None:
            return None
        return Cached(answer, job, job if own else None, trace, now_ms, left_ms, texts, len(result))

    arguments = {
        "caller": placing.caller,
        "lane": placing.lane,
        "key": placing.key,
        "bytes": EVENT_PAGE_BYTES if texts else None,
        # The one setting that it reads.
        "worker_ttl_s": settings.queue.worker_ttl_s,
    }
    size = lambda reply: len(reply[0]) if reply else 0  # noqa: E731
    return ScriptCall("cached", arguments, parse, size=size)


def _can_be_read(job: views.Record, now_ms: int) -> bool:
    """Whether the job that was computed ended with its work, and its caller still sees it."""
    return "own" not in job and "gone" not in job and now_ms < job.get("till", now_ms + 1)


def keep_answer(settings: Settings, job: str, retain_s: int | None) -> ScriptCall[None]:
    """The cached answer of a job lives for `retain_s` from now, or as long as the settings keep results."""
    arguments = {"job": job, "retain_s": retain_s}
    return ScriptCall("keep_answer", arguments, lambda reply: reply, constants=constants(settings))


def _submitted(reply: list[Any]) -> Submitted:
    word = cast(Word, reply[0])
    if word == "pictures":
        return Submitted(word, missing=tuple(reply[1]), unheld=tuple(reply[2]))
    view = views.job(reply[1]) if len(reply) > 1 else None
    return Submitted(word, view, trace=reply[2] if len(reply) > 2 else "")


def _size(reply: list[Any] | None) -> int:
    return views.answer_bytes(reply[1]) if reply and reply[0] in ("intake", "known") else 0


def admit(
    placing: Placing, settings: Settings, *, token: str
) -> ScriptCall[Literal["queued", "placed", "lost"]]:
    """Admit a job whose inputs have been fetched under the intake claim `token`."""
    arguments = placing.arguments | {"token": token}
    return ScriptCall("admit", arguments, lambda reply: reply, placing.request, constants=constants(settings))


async def guess(store: AsyncStore, lane: str, load_s: float) -> None:
    """Say how long a model's first load may take; what a worker or an earlier guess said stays."""
    with store_errors():
        pipeline = store.client.pipeline(transaction=False)
        pipeline.hsetnx(f"{PREFIX}lane:{lane}", "load_guess_ms", str(round(load_s * 1000)))
        pipeline.hsetnx(f"{PREFIX}lane:{lane}", "load_basis", "guess")
        await pipeline.execute()
