"""The shapes of OpenAI's Responses; see `shapes`."""

from typing import Any, Literal

from pydantic import Field

from api.openapi.service_shapes import OpenAIErrorBody
from api.openapi.shapes import MAY_LACK, ChatTokenLogprob, PageShape, ServiceTier, Shape
from shared.request import Detail


class ResponseText(Shape):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChatTokenLogprob] = Field(description="Empty where none were asked for.")


class ResponseMessage(Shape):
    id: str
    type: Literal["message"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[ResponseText]


class ResponseCall(Shape):
    """While it is in progress its arguments are empty."""

    id: str
    type: Literal["function_call"]
    status: Literal["in_progress", "completed"]
    call_id: str
    name: str
    arguments: str


class ResponseFunction(Shape):
    """`strict` says whether the arguments of calls are held to the schema."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool


class ResponseChoice(Shape):
    type: Literal["function"]
    name: str


class IncompleteDetails(Shape):
    reason: Literal["max_output_tokens"]


class InputTokenDetails(Shape):
    cached_tokens: int
    cache_write_tokens: Literal[0]
    image_tokens: int
    audio_tokens: int = Field(MAY_LACK, description="Where sounds were sent.")


class OutputTokenDetails(Shape):
    reasoning_tokens: Literal[0]


class ResponseUsage(Shape):
    input_tokens: int
    input_tokens_details: InputTokenDetails
    output_tokens: int
    output_tokens_details: OutputTokenDetails
    total_tokens: int


class HeldFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    name: str = MAY_LACK
    description: str = MAY_LACK
    strict: bool = MAY_LACK
    schema_: dict[str, Any] = Field(MAY_LACK, alias="schema", description="As answers are held to it.")


class ResponseTextConfig(Shape):
    format: HeldFormat
    verbosity: Literal["medium"]


class ResponseReasoning(Shape):
    effort: str | None
    summary: str | None


class ResponseObject(Shape):
    """Times are Unix seconds; `output` holds messages and calls, or nothing until there is an answer."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    completed_at: int | None
    error: OpenAIErrorBody | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[ResponseMessage | ResponseCall]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ResponseReasoning
    safety_identifier: str | None
    service_tier: ServiceTier
    store: bool
    temperature: float
    text: ResponseTextConfig
    tool_choice: Literal["auto", "none", "required"] | ResponseChoice
    tools: list[ResponseFunction]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseEvent(Shape):
    """One event of a response's stream, numbered from 0."""

    type: str
    sequence_number: int
    response: ResponseObject = Field(MAY_LACK, description="created, queued, in_progress and the last")
    item: ResponseMessage | ResponseCall = Field(MAY_LACK, description="output_item.…")
    part: ResponseText = Field(MAY_LACK, description="content_part.…")
    delta: str = Field(MAY_LACK, description="output_text.delta, function_call_arguments.delta")
    name: str = Field(MAY_LACK, description="function_call_arguments.done")
    arguments: str = Field(MAY_LACK, description="function_call_arguments.done")
    text: str = Field(MAY_LACK, description="output_text.done")
    logprobs: list[ChatTokenLogprob] = Field(MAY_LACK, description="output_text.…")
    item_id: str = MAY_LACK
    output_index: int = MAY_LACK
    content_index: int = MAY_LACK


class ResponseDeleted(Shape):
    id: str
    object: Literal["response"]
    deleted: bool


class InputPart(Shape):
    """`image_url` is null, or a data: URI where it was asked for."""

    type: Literal["input_text", "input_image", "input_audio", "output_text"]
    text: str = MAY_LACK
    annotations: list[Any] = Field(MAY_LACK, description="output_text")
    detail: Detail = Field(MAY_LACK, description="input_image")
    file_id: str | None = Field(MAY_LACK, description="input_image")
    image_url: str | None = Field(MAY_LACK, description="input_image")
    input_audio: dict[str, str] = Field(
        MAY_LACK, description="input_audio: empty, or the sound where it was asked for"
    )


class InputItem(Shape):
    id: str
    type: Literal["message"]
    status: Literal["completed"]
    role: Literal["user", "assistant", "system"]
    content: list[InputPart]


class InputOutput(Shape):
    """What a called function gave."""

    id: str
    type: Literal["function_call_output"]
    status: Literal["completed"]
    call_id: str
    output: list[InputPart]


class InputItemList(PageShape):
    data: list[InputItem | ResponseCall | InputOutput]
