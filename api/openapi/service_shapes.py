"""The shapes of answers about models, the service and keys, and of errors; see `shapes`."""

from typing import Literal

from pydantic import ConfigDict, Field

from api.openapi.shapes import MAY_LACK, ListShape, PageShape, Shape
from shared.api_keys import Outcome, Scope
from shared.blobs import Reach

State = Literal["ready", "loading", "no_worker", "failed"]
Standing = Literal[State, "paused", "draining"]


class Model(Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int = Field(
        MAY_LACK, description="Tokens of prompt and answer, where its row or a worker says so."
    )


class ModelList(Shape):
    object: Literal["list"]
    data: list[Model]


class ModelInfo(Shape):
    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str
    model_dtype: str
    model_device_type: str
    state: Standing
    workers: int
    queued: int
    estimated_time: float
    basis: str


class Calibration(Shape):
    """Of the model's last thousand or so runs: the share that began within the p50 and p90 told."""

    scored: int
    within_p50: float
    within_p90: float


class Reused(Shape):
    """What the worker that spoke last knew already: of so many `prompts` a part of `hits`."""

    prompts: int
    hits: int
    cached_tokens: int
    bytes: int


class ModelStatus(Shape):
    loaded: bool
    state: Literal["Loaded", "Loadable", "error"]
    compute_type: str
    framework: Literal["transformers"]
    workers: int
    queued: int
    estimated_time: float
    basis: str
    reason: str | None
    engine: str | None
    engine_reason: str | None
    reused: Reused | None
    paused: bool
    draining: bool
    calibration: Calibration | None


class Waiting(Shape):
    interactive: int
    normal: int
    batch: int


class Worker(Shape):
    """`busy` counts the rows of the runs it holds. It may exceed `rows`: the next ones are being prepared.

    `memory` in bytes.

    `tokens_per_s` is what it generated in the last ten seconds. Workers whose `fingerprint` differs answer
    differently; it is empty while the model is loaded.
    """

    id: str
    state: Literal["ready", "loading"]
    host: str
    pid: int
    since: float
    rows: int
    busy: int
    memory: int
    tokens_per_s: float
    fingerprint: str


class ModelFleet(Shape):
    """`queued` and `running` count runs, `backlog` the rows of both: the signal to scale by.

    Of a paused model `backlog` has only what runs.

    `drained`: its workers can be stopped.
    """

    model: str
    state: State
    reason: str | None
    paused: bool
    draining: bool
    drained: bool
    queued: Waiting
    running: int
    backlog: int
    oldest_queued_s: float | None
    engine: str | None
    engine_reason: str | None
    reused: Reused | None
    workers: list[Worker]


class Fleet(Shape):
    models: list[ModelFleet]


class ModelHealth(Shape):
    status: Literal["ready"]


StoreState = Literal["reachable", "nearly_full", "read_only", "unreachable"]


class BlobStore(Shape):
    """Where pictures and files lie."""

    kind: Literal["folder", "s3", "gs", "az"]
    state: Reach = Field(
        description="One that is `read_only` refuses what it is to keep: it tells so, or a write of the last "
        "minute failed and none since has succeeded."
    )


class Health(Shape):
    status: Literal["ok"]
    store: StoreState = Field(
        description="The record store. One that is `nearly_full`, of its memory, takes no jobs, and what it "
        "took goes on; one that is `read_only` takes nothing, as where its disk is full."
    )
    blobs: BlobStore


class Readiness(Shape):
    status: Literal["ready", "not_ready"]
    models: dict[str, Standing]
    blobs: BlobStore


class ApiKey(Shape):
    """Times are Unix seconds; null is what does not apply."""

    id: str
    object: Literal["api_key"]
    name: str
    caller: str
    scopes: list[Scope]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    former_until: float | None = Field(description="How long the secret before the last rotation goes on.")
    requests_per_minute: int | None
    max_queued: int | None
    retain_s: int | None = Field(description="How long what is made with it is kept after its end.")


class NewApiKey(ApiKey):
    secret: str = Field(description="Shown now and never again.")


class ApiKeyList(ListShape):
    data: list[ApiKey]
    has_more: bool = Field(description="`false`: this is all.")


class AdminActionKey(Shape):
    id: str
    name: str


class AdminAction(Shape):
    """What an operator did; `at` in Unix seconds."""

    id: str
    object: Literal["admin_action"]
    at: float
    action: Literal[
        "key.create",
        "key.rotate",
        "key.revoke",
        "model.add",
        "model.pause",
        "model.resume",
        "model.drain",
        "model.remove",
    ]
    subject: str = Field(description="The key or model.")
    outcome: Outcome
    key: AdminActionKey = Field(description="Who did it; `local` without keys.")
    address: str = Field(description="From where.")
    request_id: str


class AdminActionList(PageShape):
    data: list[AdminAction]


class Problem(Shape):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: str = MAY_LACK
    retryable: bool
    request_id: str
    estimated_time: float = Field(MAY_LACK, description="Seconds until the model is ready.")
    basis: str = Field(MAY_LACK, description="What the time rests on.")


class OpenAIErrorBody(Shape):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(Shape):
    error: OpenAIErrorBody
    estimated_time: float = Field(MAY_LACK, description="Seconds until the model is ready.")
    basis: str = Field(MAY_LACK, description="What the time rests on.")


class StreamError(Shape):
    """The last data of a stream that fails."""

    error: OpenAIErrorBody
    error_type: Literal["generation"]


class HuggingFaceError(Shape):
    error: str
    error_type: str
    estimated_time: float = Field(MAY_LACK, description="Seconds until the model is ready.")
    basis: str = Field(MAY_LACK, description="What the time rests on.")
