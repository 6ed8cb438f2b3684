"""The shapes of the answers, as a client generator reads them.

The dialects build their answers as plain dictionaries; the tests hold real ones against these.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.dialects.webhook import WebhookEvent
from shared.job import CacheWord, Estimate, Priority, Status, WaitingReason
from shared.result import FinishReason, JobError

ChatFinish = FinishReason | Literal["tool_calls"]
# A field that an answer may lack; it is never sent as null.
MAY_LACK: Any = None


class Shape(BaseModel):
    """An object; fields may be added in later releases."""


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


class TopLogprob(Shape):
    """`bytes` is null for a token that makes no text."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class CalledFunction(Shape):
    """`arguments` is a JSON object as text."""

    name: str
    arguments: str


class ToolCall(Shape):
    id: str
    type: Literal["function"]
    function: CalledFunction


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
    error: JobError = Field(MAY_LACK, description="Of a job that failed.")
    start_by: float = MAY_LACK
    finish_by: float = MAY_LACK
    schedule_at: float = MAY_LACK
    retry_of: str = Field(MAY_LACK, description="The job that this one tries again.")
    webhook: WebhookState = Field(MAY_LACK, description="Where it has one.")
    store: Literal[False] = Field(MAY_LACK, description="Where it is forgotten once its end was told.")


class JobList(Shape):
    object: Literal["list"]
    data: list[Job]
    first_id: str | None
    last_id: str | None
    has_more: bool


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


class TokenDetails(Shape):
    cached_tokens: int
    image_tokens: int
    audio_tokens: int = Field(MAY_LACK, description="Where sounds were sent.")


class TokenUsage(Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails


class ChatMessage(Shape):
    """`content` is null where it is nothing but calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] = Field(MAY_LACK, description="Where it calls functions.")


class ChatLogprobs(Shape):
    content: list[ChatTokenLogprob]
    refusal: None


class ChatChoice(Shape):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinish


class ChatCompletion(Shape):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage
    system_fingerprint: str


class ToolCallDelta(ToolCall):
    """A call is told whole; `index` is its place among those of its answer."""

    index: int


class ChatDelta(Shape):
    content: str = Field(MAY_LACK, description="In every chunk but those of calls.")
    role: Literal["assistant"] = Field(MAY_LACK, description="In the first chunk.")
    tool_calls: list[ToolCallDelta] = MAY_LACK


class ChatChunkChoice(Shape):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinish | None


class ChatCompletionChunk(Shape):
    """`usage` is there where stream_options.include_usage was sent: null, and numbers in the last chunk."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChatChunkChoice]
    usage: TokenUsage | None = MAY_LACK


class TextLogprobs(Shape):
    """`text_offset` counts code points from the beginning of the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TextChoice(Shape):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextCompletion(Shape):
    """Whole, or one chunk of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[TextChoice]
    usage: TokenUsage | None = MAY_LACK


class GeneratedText(Shape):
    generated_text: str
    input_text: str = Field(MAY_LACK, description="With return_full_text.")


class ScoredAnswer(Shape):
    """Of a question about a picture."""

    answer: str
    score: float


class Token(Shape):
    id: int
    text: str
    special: bool
    logprob: None


class TokenChunk(Shape):
    """The last one holds the whole `generated_text`."""

    index: int
    token: Token
    generated_text: str | None
    details: None
