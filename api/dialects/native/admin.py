"""/v1/admin: callers' API keys, the models to be served, what operators did.

Times are Unix seconds; a secret is shown once, when it is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.fields import ListAnswer, Moment, seconds, to_ms
from api.dialects.native.models import StoreMemory
from api.dialects.strict_json import Wire, invalid, read, unsupported
from api.dialects.webhooks import BatchEvent, JobEvent
from shared import api_keys, models
from shared.api_keys import CALLER, SCOPES, Scope
from shared.metrics.series import STEP_S, Sample, refused
from shared.models import Model
from shared.webhooks import DefaultWebhook

MAX_QUOTA = 1_000_000
LONGEST_GRACE_S = 30 * 86_400
LONGEST_RETENTION_S = 366 * 86_400
GRACE_S = 86_400
"""How long the old secret stays valid where a rotation does not say."""


class KeyBody(Wire):
    """A key to be made. Without a `caller` its jobs are nobody else's."""

    name: str = Field(min_length=1, max_length=64)
    caller: str | None = None
    scopes: list[Scope] | None = Field(None, min_length=1)
    expires_at: Moment | None = None
    requests_per_minute: int | None = Field(None, ge=1, le=MAX_QUOTA)
    max_queued: int | None = Field(None, ge=1, le=MAX_QUOTA)
    retain_s: int | None = Field(None, ge=60, le=LONGEST_RETENTION_S)


class RotationBody(Wire):
    """How long the former secret goes on, in seconds; a day by default."""

    grace_s: int | None = Field(None, ge=0, le=LONGEST_GRACE_S)


class ModelBody(Wire, models.Model):
    """A row. What runs programs of its own stands in the models file of the machine that runs them."""


def from_key(body: Any, id: str, now_ms: int) -> api_keys.ApiKey:
    """The key to be made under this id. Raises CallerError naming the field."""
    key = read(KeyBody, body)
    if not key.name.isprintable():
        raise invalid("name", "should be one line of text")
    caller = id if key.caller is None else key.caller
    if not CALLER.fullmatch(caller):
        raise invalid("caller", "takes 1 to 64 lower-case letters, digits, `.`, `_` and `-`")
    expires_ms = to_ms("expires_at", key.expires_at)
    if expires_ms is not None and expires_ms <= now_ms:
        raise invalid("expires_at", "has passed already")
    return api_keys.ApiKey(
        id=id,
        name=key.name,
        caller=caller,
        scopes=tuple(scope for scope in SCOPES if scope in (key.scopes or ("submit", "read"))),
        created_ms=now_ms,
        expires_ms=expires_ms,
        requests_per_minute=key.requests_per_minute,
        max_queued=key.max_queued,
        retain_s=key.retain_s,
    )


def from_rotation(body: Any) -> int:
    """The grace time in seconds. Raises CallerError naming the field."""
    rotation = read(RotationBody, body)
    return GRACE_S if rotation.grace_s is None else rotation.grace_s


def from_row(body: Any) -> models.Model:
    """A model to be served. Raises CallerError naming the field."""
    row = read(ModelBody, body)
    if row.trust_remote_code:
        raise unsupported("trust_remote_code")
    return models.Model.model_validate(row.model_dump(exclude_unset=True))


class KeyWebhook(TypedDict):
    url: str
    events: list[JobEvent | BatchEvent]
    former_until: Annotated[
        float | None, Field(description="How long the secret before the last rotation signs as well.")
    ]


class ApiKey(TypedDict):
    """Times are Unix seconds; null is what does not apply."""

    id: str
    object: Literal["api_key"]
    name: str
    caller: str
    scopes: list[Scope]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    former_until: Annotated[
        float | None, Field(description="How long the secret before the last rotation goes on.")
    ]
    requests_per_minute: int | None
    max_queued: int | None
    retain_s: Annotated[int | None, Field(description="How long what is made with it is kept after its end.")]
    last_seen_at: Annotated[float | None, Field(description="Its last request, to the minute.")]
    requests: Annotated[int | None, Field(description="Those of the last minute, where it has a quota.")]
    webhook: Annotated[
        KeyWebhook | None, Field(description="Gets the events of its jobs and batches that name none.")
    ]


class NewApiKey(ApiKey):
    secret: Annotated[str, Field(description="Shown now and never again.")]


class NewKeyWebhook(ApiKey):
    webhook_secret: Annotated[
        str | None, Field(description="Signs deliveries. Shown now and never again; null where it stays.")
    ]


class ApiKeyList(ListAnswer):
    data: list[ApiKey]
    has_more: Annotated[bool, Field(description="`false`: this is all.")]


class CallerBytes(TypedDict):
    caller: str
    bytes: int


class StoreFilling(TypedDict):
    memory: StoreMemory
    callers: Annotated[
        list[CallerBytes], Field(description="Those who hold most, with what is reserved for them.")
    ]


class BadRecord(TypedDict):
    """A record that could not be read."""

    id: str
    object: Literal["bad_record"]
    reason: str


class BadRecordList(ListAnswer):
    data: list[BadRecord]
    has_more: Annotated[bool, Field(description="`false`.")]


def to_filling(memory: StoreMemory, most: Sequence[tuple[str, int]]) -> StoreFilling:
    callers: list[CallerBytes] = [{"caller": caller, "bytes": held} for caller, held in most]
    return {"memory": memory, "callers": callers}


def to_bad_records(reasons: Mapping[str, str]) -> BadRecordList:
    rows: list[BadRecord] = [
        {"id": id, "object": "bad_record", "reason": reason} for id, reason in sorted(reasons.items())
    ]
    return {"object": "list", "data": rows, "has_more": False}


def to_key(key: api_keys.ApiKey) -> ApiKey:
    return {
        "id": key.id,
        "object": "api_key",
        "name": key.name,
        "caller": key.caller,
        "scopes": list(key.scopes),
        "created_at": key.created_ms / 1000,
        "expires_at": seconds(key.expires_ms),
        "revoked_at": seconds(key.revoked_ms),
        "former_until": seconds(key.former_until_ms),
        "requests_per_minute": key.requests_per_minute,
        "max_queued": key.max_queued,
        "retain_s": key.retain_s,
        "last_seen_at": seconds(key.last_seen_ms),
        "requests": key.requests,
        "webhook": None if key.webhook is None else _to_key_webhook(key.webhook),
    }


def _to_key_webhook(webhook: DefaultWebhook) -> KeyWebhook:
    events = cast("list[JobEvent | BatchEvent]", list(webhook.events))
    return {"url": webhook.url, "events": events, "former_until": seconds(webhook.former_until_ms)}


def to_key_webhook(key: api_keys.ApiKey, secret: str | None) -> NewKeyWebhook:
    return {**to_key(key), "webhook_secret": secret}


def to_new_key(key: api_keys.ApiKey, secret: str) -> NewApiKey:
    return {**to_key(key), "secret": secret}


def to_key_list(keys: list[api_keys.ApiKey]) -> ApiKeyList:
    return {"object": "list", "data": [to_key(key) for key in keys], "has_more": False}


LATE_S = 2
"""A sample is there so long after its step began, at the latest."""


class ModelSeries(TypedDict):
    """What waited, ran and worked at each moment; the rest is over the step before it. All of runs.

    Null where it is not known.
    """

    waiting: list[int | None]
    running: list[int | None]
    workers: list[int | None]
    tokens_per_s: list[float | None]
    wait_p95_s: list[float | None]
    succeeded: list[int | None]
    failed: list[int | None]


_REFUSALS = "By code, how many requests were refused with 429 or 503; codes without any are left out."

# `from` is no name that a class can have.
SeriesAnswer = TypedDict(
    "SeriesAnswer",
    {
        "step_s": int,
        "from": int,
        "models": dict[str, ModelSeries],
        "refusals": Annotated[dict[str, list[int | None]], Field(description=_REFUSALS)],
    },
)


def to_series(samples: Iterable[Sample], models: Sequence[Model], now_ms: int, minutes: int) -> SeriesAnswer:
    """The oldest first; `from` is the first moment's time in Unix seconds."""
    last = (now_ms - LATE_S * 1000) // (STEP_S * 1000)
    steps = range(last - minutes * 60 // STEP_S + 1, last + 1)
    by_step = {sample.at_ms // (STEP_S * 1000): sample for sample in samples}
    rows = {model.id: _series(by_step, model, steps) for model in models}
    return {"step_s": STEP_S, "from": steps[0] * STEP_S, "models": rows, "refusals": refused(by_step, steps)}


def _series(samples: Mapping[int, Sample], model: Model, steps: Sequence[int]) -> ModelSeries:
    row = [samples[step].lanes.get(model.lane, {}) if step in samples else {} for step in steps]
    return cast(ModelSeries, {n: [moment.get(n) for moment in row] for n in ModelSeries.__annotations__})
