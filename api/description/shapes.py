"""The shapes of answers, as client generators read them from the OpenAPI description.

The dialects build their answers as plain dictionaries; the tests hold real ones against these.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.result import FinishReason

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
