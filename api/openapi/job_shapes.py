"""The shapes of this service's own API: jobs, their lists, events, receipts and forecasts."""

from typing import Any, Literal

from pydantic import Field

from api.dialects.native.job_webhook import WebhookEvent
from api.openapi.shapes import MAY_LACK, ChatFinish, ChatTokenLogprob, PageShape, Shape, ToolCall
from shared.job import CacheWord, Estimate, Priority, Status, WaitingReason
from shared.result import JobError
from shared.tokens import Outcome


class JobUrls(Shape):
    self: str
    cancel: str
    retry: str
    events: str


class JobAttempt(Shape):
    number: int
    worker: str
    started_at: float
    ended_at: float | None
    outcome: str | None


class JobUsage(Shape):
    """Part of `prompt_tokens` are `image_tokens`, and `cached_tokens`, which were known already."""

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int
    cached_tokens: int
    total_tokens: int
    audio_tokens: int = Field(MAY_LACK, description="Where sounds were sent.")


class JobChoice(Shape):
    """`text` is all that the model wrote; `content` and `tool_calls` come where it calls functions."""

    text: str
    finish_reason: ChatFinish
    score: float | None
    content: str | None = Field(MAY_LACK, description="The words beside its calls.")
    tool_calls: list[ToolCall] = MAY_LACK
    logprobs: list[ChatTokenLogprob] = Field(MAY_LACK, description="With logprobs.")


class JobResult(Shape):
    text: str
    choices: list[JobChoice]
    usage: JobUsage
    fingerprint: str
    compute_s: float


class ReceiptModel(Shape):
    """Beside the id what the fingerprint is over; `files` is a digest of weights, processor and template."""

    id: str
    engine: str = MAY_LACK
    revision: str = MAY_LACK
    files: str = MAY_LACK
    dtype: str = MAY_LACK
    device: str = MAY_LACK


class ReceiptRun(Shape):
    """`job` is the one that it was begun for; null where that is not yours."""

    id: str
    job: str | None


class ReceiptTimings(Shape):
    """Of the run: a cached answer was computed before its job was created."""

    queued_at: float | None
    started_at: float | None
    first_token_at: float | None
    ended_at: float | None
    compute_s: float


class Receipt(Shape):
    """How the answer came about. `parameters` are those in effect, with the seed of what was drawn."""

    request_hash: str | None
    fingerprint: str
    model: ReceiptModel
    parameters: dict[str, Any]
    cache: CacheWord | None
    run: ReceiptRun
    attempts: int | None
    timings: ReceiptTimings
    usage: JobUsage


class WebhookDelivery(Shape):
    """One call; `status` is null where no answer came, `error` where the receiver took it."""

    event: WebhookEvent
    at: float
    ms: int
    status: int | None
    error: str | None


class WebhookState(Shape):
    url: str
    events: list[WebhookEvent]
    deliveries: list[WebhookDelivery]
    delivered_at: float | None


class Job(Shape):
    """Times are Unix seconds, paths in `urls` are relative to the service."""

    id: str
    object: Literal["job"]
    status: Status
    model: str
    priority: Priority
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: list[JobAttempt]
    cache: CacheWord | None
    metadata: dict[str, str]
    urls: JobUrls
    waiting_reason: WaitingReason = Field(MAY_LACK, description="While it waits.")
    ahead: int = Field(MAY_LACK, description="Runs that will be begun before this one.")
    estimate: Estimate = Field(MAY_LACK, description="While it waits in line.")
    result: JobResult = Field(MAY_LACK, description="Of a job that succeeded.")
    receipt: Receipt = Field(MAY_LACK, description="Of a job that succeeded.")
    error: JobError = Field(MAY_LACK, description="Of a job that failed.")
    start_by: float = MAY_LACK
    finish_by: float = MAY_LACK
    schedule_at: float = MAY_LACK
    retry_of: str = Field(MAY_LACK, description="The job that this one tries again.")
    webhook: WebhookState = Field(MAY_LACK, description="Where it has one.")
    store: bool = Field(MAY_LACK, description="`false` where it is forgotten once its end was told.")


class JobList(PageShape):
    """`next` is what to send as `after` for the page that follows; a short or empty page may have one.

    A page of long answers is short: it has at most 2 MiB of records, or one job.
    """

    data: list[Job]
    next: str | None


class JobEvent(Shape):
    """The data of an event; `succeeded`, `failed` and `cancelled` are last and hold the job."""

    at: float
    job_id: str = MAY_LACK
    attempt: int = Field(MAY_LACK, description="running")
    reason: str = Field(MAY_LACK, description="requeued")
    choice: int = Field(MAY_LACK, description="text, with n: its place in the result's choices")
    start: int = Field(MAY_LACK, description="text: where it begins in its answer, in code points")
    text: str = Field(MAY_LACK, description="text")
    ids: list[int] = Field(MAY_LACK, description="text: its tokens")
    logprobs: list[ChatTokenLogprob] = Field(MAY_LACK, description="text, with logprobs")
    job: Job = Field(MAY_LACK, description="The job as it ended.")


class ForecastTokens(Shape):
    """`image` is part of `prompt`; both are null while pictures are fetched, `prompt` while sounds are."""

    prompt: int | None
    image: int | None
    basis: Literal["measured", "guess"]
    answer_at_most: int
    context_length: int | None


class ForecastCost(Shape):
    """`requests` of the quota, `places` in the caller's line, and what its `turn` costs, in answer tokens."""

    requests: int
    places: int
    turn: int


class ForecastRefusal(Shape):
    """What a submit would be answered."""

    status: int
    code: str
    detail: str
    retryable: bool
    retry_after: int | None


class Forecast(Shape):
    """What would become of a job now. A cached answer is there at once; a joined run is another job's."""

    object: Literal["estimate"]
    model: str
    outcome: Outcome
    tokens: ForecastTokens
    cost: ForecastCost
    cache: CacheWord = Field(MAY_LACK, description="As the job would show it.")
    waiting_reason: WaitingReason = MAY_LACK
    ahead: int = Field(MAY_LACK, description="Runs that would be begun before.")
    estimate: Estimate = Field(MAY_LACK, description="Until it begins, and how long it then takes.")
    refusal: ForecastRefusal = Field(MAY_LACK, description="Where it would be refused.")
