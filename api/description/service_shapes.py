"""The shapes of what is said about models, the service and errors; see `shapes`."""

from typing import Literal

from pydantic import ConfigDict, Field

from api.description.shapes import MAY_LACK, Shape

State = Literal["ready", "loading", "no_worker", "failed"]


class Model(Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shape):
    object: Literal["list"]
    data: list[Model]


class ModelInfo(Shape):
    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str
    model_dtype: str
    model_device_type: str
    state: State
    workers: int
    queued: int
    estimated_time: float
    basis: str


class Calibration(Shape):
    """Of the model's last thousand or so runs: the share that began within the p50 and p90 told."""

    scored: int
    within_p50: float
    within_p90: float


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
    paused: bool
    calibration: Calibration | None


class ModelHealth(Shape):
    status: Literal["ready"]


class Health(Shape):
    status: Literal["ok"]
    store: Literal["reachable", "unreachable"]


class Readiness(Shape):
    status: Literal["ready", "not_ready"]
    models: dict[str, State]


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
