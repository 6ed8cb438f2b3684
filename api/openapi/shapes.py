"""The shapes of answers, as client generators read them from the OpenAPI description.

The dialects build their answers as plain dictionaries; the tests hold real ones against these."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.dialects.native.webhooks import EndpointEvent
from shared.batch import Stage
from shared.file import Purpose
from shared.result import FinishReason
from shared.webhooks import Why

ChatFinish = FinishReason | Literal["tool_calls"]
ServiceTier = Literal["default", "flex", "priority"]
# A field that an answer may lack; it is never sent as null.
MAY_LACK: Any = None


class Shape(BaseModel):
    """An object; fields may be added in later releases."""


class ListShape(Shape):
    """A page of a list; a subclass says of what."""

    object: Literal["list"]
    has_more: bool


class PageShape(ListShape):
    first_id: str | None
    last_id: str | None


class TopLogprob(Shape):
    """`bytes` is empty for a token that makes no text: strict readers of responses take no null for it."""

    token: str
    logprob: float
    bytes: list[int]


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


class TokenDetails(Shape):
    cached_tokens: int
    image_tokens: int
    audio_tokens: int = Field(MAY_LACK, description="Where sounds were sent.")


class TokenUsage(Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails


class TokensSoFar(Shape):
    """Of one answer, in each chunk where stream_options.continuous_usage_stats was sent."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMessage(Shape):
    """`content` is null where it is nothing but calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] = Field(MAY_LACK, description="Where it calls functions.")


class ChatLogprobs(Shape):
    content: list[ChatTokenLogprob]
    refusal: str | None


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
    service_tier: ServiceTier
    system_fingerprint: str


class ToolCallDelta(ToolCall):
    """A call is told whole; `index` is its place among those of its answer."""

    index: int


class ChatDelta(Shape):
    content: str | None = Field(
        MAY_LACK,
        description="In every chunk but those of calls; empty without words, null behind or for a call.",
    )
    role: Literal["assistant"] = Field(MAY_LACK, description="In the first chunk.")
    tool_calls: list[ToolCallDelta] = MAY_LACK


class ChatChunkChoice(Shape):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinish | None


class ChatCompletionChunk(Shape):
    """`usage` is there where stream_options.include_usage was sent: null, and numbers in the last chunk. With
    continuous_usage_stats all have numbers but those of an answer without text.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    service_tier: ServiceTier
    system_fingerprint: str | None
    choices: list[ChatChunkChoice]
    usage: TokenUsage | TokensSoFar | None = MAY_LACK


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
    usage: TokenUsage | TokensSoFar | None = MAY_LACK


class GeneratedToken(Shape):
    id: int | None = Field(description="null where the job's stream is no longer kept.")
    text: str
    logprob: float
    special: bool


class GenerationEnd(Shape):
    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None


class GenerationDetails(GenerationEnd):
    """Each token of the text; the one that ended it is counted and not told."""

    prefill: list[GeneratedToken] = Field(max_length=0)
    tokens: list[GeneratedToken]


class GenerationStreamDetails(GenerationEnd):
    input_length: int


class GeneratedText(Shape):
    generated_text: str
    input_text: str = Field(MAY_LACK, description="With return_full_text.")
    details: GenerationDetails = Field(MAY_LACK, description="With details.")


class ScoredAnswer(Shape):
    """Of a question about a picture."""

    answer: str
    score: float


class Token(Shape):
    id: int
    text: str
    special: bool
    logprob: float | None


class TokenChunk(Shape):
    """The last one holds the whole `generated_text`."""

    index: int
    token: Token
    generated_text: str | None
    details: GenerationStreamDetails | None = Field(description="Of the last chunk, with details.")


# The shapes of files and batches. Times are Unix seconds; fields that do not apply are null.


class FileObject(Shape):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: str | None


class FileList(PageShape):
    data: list[FileObject]


class FileDeleted(Shape):
    id: str
    object: Literal["file"]
    deleted: bool


class BatchError(Shape):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(Shape):
    """What is wrong with lines of the input: the first hundred. Each is in the error file as well."""

    object: Literal["list"]
    data: list[BatchError]


class BatchCounts(Shape):
    """`total` is 0 until the lines were counted; at the end it is the sum of the others."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(Shape):
    cached_tokens: int


class OutputTokensDetails(Shape):
    reasoning_tokens: Literal[0]


class BatchUsage(Shape):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Batch(Shape):
    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Stage
    output_file_id: str | None = Field(description="The rows of the lines that succeeded, if any did.")
    error_file_id: str | None = Field(description="The rows of all others, if there are any.")
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(PageShape):
    data: list[Batch]


# The shapes of answers about webhook endpoints and events.


class Endpoint(Shape):
    """Times are Unix seconds; null is what does not apply."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[EndpointEvent]
    description: str
    enabled: bool
    disabled_reason: Why | None = Field(description="`gone`: it answered 410. `caller`: it was turned off.")
    disabled_at: float | None
    created_at: float
    former_until: float | None = Field(description="How long a secret from before a rotation signs as well.")


class NewEndpoint(Endpoint):
    secret: str = Field(description="Shown now and never again.")


class EndpointList(PageShape):
    data: list[Endpoint]
    has_more: bool = Field(description="`false`: this is all.")


class EndpointTry(Shape):
    """One call. Without an answer `status` is null; `error` says why it did not count."""

    event_id: str
    event: str
    at: float
    ms: int
    status: int | None
    error: str | None


class EndpointTryList(ListShape):
    data: list[EndpointTry]
    has_more: bool = Field(description="`false`: this is all.")


class Event(Shape):
    """What webhooks are told; `id` is their `webhook-id`, `data` what it happened to, as it stood then."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventList(PageShape):
    data: list[Event]
