"""Writes a job as OpenAI's response object; the response of `job_…` is named `resp_…`."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import TextPiece, call_id, split
from api.dialects.logprobs import ChatTokenLogprob, to_content
from api.dialects.media import PictureUsage, to_picture
from api.dialects.openai.errors import OpenAIErrorBody, to_error_body
from api.dialects.openai.usage import CompletionTokensDetails
from api.dialects.sampling import SERVICE_TIERS, AnsweredTier
from shared.job import JobView
from shared.request import Detail, Format, Frozen, Function, Request, Text, Tools
from shared.result import Result, Usage
from shared.tool_calls.call import ParsedCall

DEFAULT_PROBABILITY = 1.0
"""OpenAI's `temperature` and `top_p` where the caller named none: strict clients need a number."""


class ResponseFields(Frozen, extra="ignore"):
    """What a response shows of its call beyond what its request and its job hold.

    Kept with the job; fields of a newer release are ignored. `instructed` says that the request's first
    message is the instructions, `previous` is the response that it goes on from, `format` is `text.format`
    without its schema, `parallel` is `parallel_tool_calls`. `max_tool_calls` limits calls of OpenAI's own
    tools, of which there are none. `unshown` are the functions, as the response shows them, that a
    `tool_choice` of none hides from the model; None for any other choice. `details` are those of all pictures
    of the conversation in reading order, empty where all are auto.
    """

    background: bool = False
    instructed: bool = False
    previous: str | None = None
    format: dict[str, Any] | None = None
    parallel: bool = True
    max_tool_calls: int | None = None
    unshown: list[dict[str, Any]] | None = None
    details: tuple[Detail, ...] = ()
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


@dataclass(frozen=True)
class StoredResponse:
    """A response as the records hold it."""

    job: JobView
    request: Request
    fields: ResponseFields


class ResponseText(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: Annotated[list[ChatTokenLogprob], Field(description="Empty where none were asked for.")]


MessageStatus = Literal["in_progress", "completed", "incomplete"]


class ResponseMessage(TypedDict):
    id: str
    type: Literal["message"]
    status: MessageStatus
    role: Literal["assistant"]
    content: list[ResponseText]


class ReasoningText(TypedDict):
    type: Literal["reasoning_text"]
    text: str


class ResponseThought(TypedDict):
    """What the model thought before it answered."""

    id: str
    type: Literal["reasoning"]
    status: MessageStatus
    summary: Annotated[list[Any], Field(max_length=0)]
    content: list[ReasoningText]


CallStatus = Literal["in_progress", "completed"]


class ResponseCall(TypedDict):
    """While it is in progress its arguments are empty."""

    id: str
    type: Literal["function_call"]
    status: CallStatus
    call_id: str
    name: str
    arguments: str


class ResponseFunction(TypedDict):
    """`strict` says whether the arguments of calls are held to the schema."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool


class ResponseChoice(TypedDict):
    type: Literal["function"]
    name: str


class IncompleteDetails(TypedDict):
    reason: Literal["max_output_tokens", "repetition"]


class InputTokenDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: Literal[0]
    image_tokens: int
    pictures: NotRequired[Annotated[list[PictureUsage], Field(description="Where pictures were sent.")]]
    audio_tokens: NotRequired[Annotated[int, Field(description="Where sounds were sent.")]]


class ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: InputTokenDetails
    output_tokens: int
    output_tokens_details: CompletionTokensDetails
    total_tokens: int


class HeldFormat(TypedDict):
    type: Literal["text", "json_object", "json_schema"]
    name: NotRequired[str]
    description: NotRequired[str]
    strict: NotRequired[bool]
    schema: NotRequired[Annotated[dict[str, Any], Field(description="As answers are held to it.")]]


class ResponseTextConfig(TypedDict):
    format: HeldFormat
    verbosity: Literal["medium"]


class ResponseReasoning(TypedDict):
    effort: str | None
    summary: str | None


ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ResponseToolChoice = Literal["auto", "none", "required"] | ResponseChoice
OutputItem = ResponseMessage | ResponseCall | ResponseThought


class ResponseObject(TypedDict):
    """Times are Unix seconds; `output` holds the items of the answer, or nothing until there is one."""

    id: str
    object: Literal["response"]
    created_at: int
    status: ResponseStatus
    background: bool
    completed_at: int | None
    error: OpenAIErrorBody | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ResponseReasoning
    safety_identifier: str | None
    service_tier: AnsweredTier
    store: bool
    temperature: float
    text: ResponseTextConfig
    tool_choice: ResponseToolChoice
    tools: list[ResponseFunction]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseDeleted(TypedDict):
    id: str
    object: Literal["response"]
    deleted: bool


def with_details(fields: ResponseFields, request: Request) -> ResponseFields:
    """Add what a response shows of its request but the record, shared by all identical requests, lacks."""
    details = tuple(picture.detail for picture in request.images)
    unshown = None if request.unshown is None else [_function(f) for f in request.unshown]
    # Pages become pictures among the others.
    shown = set(details) - {"auto"} and not request.documents
    update = {"details": details if shown else (), "unshown": unshown}
    return fields.model_copy(update=update)


def response_id(job: str) -> str:
    return f"resp_{job.removeprefix('job_')}"


def job_of(response: str) -> str:
    """The id of a response's job; empty where this is no response's id."""
    return f"job_{response.removeprefix('resp_')}" if response.startswith("resp_") else ""


def message_id(job: str, number: int = 0) -> str:
    """The id of the answer's message `number`; `_o` tells it from input items, which end in a bare number."""
    return f"msg_{job.removeprefix('job_')}" + (f"_o{number}" if number else "")


def to_response(response: StoredResponse) -> ResponseObject:
    """The response object, at any moment of its life."""
    job, request, fields = response.job, response.request, response.fields
    parameters, result, status = request.parameters, job.result, status_of(job)
    temperature, top_p = parameters.temperature, parameters.top_p
    return {
        "id": response_id(job.id),
        "object": "response",
        "created_at": job.created_ms // 1000,
        "status": status,
        "background": fields.background,
        "completed_at": (job.ended_ms or 0) // 1000 if status == "completed" else None,
        "error": None if job.error is None else to_error_body(job.error),
        "incomplete_details": _incomplete(result) if status == "incomplete" else None,
        "instructions": _instructions(response),
        "max_output_tokens": parameters.max_new_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "metadata": job.metadata,
        "model": job.model,
        "output": [] if result is None else to_output(job.id, result),
        "parallel_tool_calls": fields.parallel,
        "previous_response_id": fields.previous,
        "prompt_cache_key": fields.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": fields.safety_identifier,
        "service_tier": SERVICE_TIERS[job.priority],
        "store": job.stored,
        "temperature": DEFAULT_PROBABILITY if temperature is None else temperature,
        "text": {"format": _format(fields.format, parameters.format), "verbosity": "medium"},
        "tool_choice": _tool_choice(request.tools, fields),
        "tools": _functions(request.tools, fields),
        "top_logprobs": parameters.logprobs or 0,
        "top_p": DEFAULT_PROBABILITY if top_p is None else top_p,
        # A conversation that is too long is refused, also where the caller lets earlier turns be dropped.
        "truncation": "disabled",
        "usage": None if result is None else _usage(result.usage),
        "user": fields.user,
    }


def status_of(job: JobView) -> ResponseStatus:
    if job.status == "succeeded" and job.result is not None:
        return "completed" if job.result.choices[0].finish_reason == "stop" else "incomplete"
    if job.status == "running":
        return "in_progress"
    return "completed" if job.status == "succeeded" else job.status


def _incomplete(result: Result | None) -> IncompleteDetails:
    looped = result is not None and result.choices[0].finish_reason == "repetition"
    return {"reason": "repetition" if looped else "max_output_tokens"}


def to_deleted(response: str) -> ResponseDeleted:
    return {"id": response, "object": "response", "deleted": True}


def to_output(job: str, result: Result) -> list[OutputItem]:
    """The items of a response that has ended with an answer: its thoughts, messages and calls, in order.

    A call ends a message, so text after it is another one; only the last item may be incomplete.
    """
    choice = result.choices[0]
    pieces = split(choice.text, result.syntax, choice.logprobs or ())
    items: list[OutputItem] = []
    calls = messages = 0
    for number, piece in enumerate(pieces):
        ended = number < len(pieces) - 1 or choice.finish_reason == "stop"
        status: MessageStatus = "completed" if ended else "incomplete"
        if not isinstance(piece, TextPiece):
            items.append(to_function_call(job, calls, piece))
            calls += 1
        elif piece.is_thought:
            items.append(to_thought(job, status, [to_reasoning_text(piece.text)]))
        else:
            items.append(to_message(job, messages, status, [to_part(piece)]))
            messages += 1
    return items


def to_thought(job: str, status: MessageStatus, content: list[ReasoningText]) -> ResponseThought:
    """The item of the thoughts; an answer has one at most."""
    id = f"rs_{job.removeprefix('job_')}"
    return {"id": id, "type": "reasoning", "status": status, "summary": [], "content": content}


def to_reasoning_text(text: str) -> ReasoningText:
    return {"type": "reasoning_text", "text": text}


def to_function_call(
    job: str, number: int, called: ParsedCall, status: CallStatus = "completed"
) -> ResponseCall:
    """The item of a call; while it is in progress its arguments come in events of their own."""
    return {
        "id": f"fc_{job.removeprefix('job_')}_{number}",
        "type": "function_call",
        "status": status,
        "call_id": call_id(job, 0, number),
        "name": called.name,
        "arguments": called.arguments if status == "completed" else "",
    }


def to_message(job: str, number: int, status: MessageStatus, content: list[ResponseText]) -> ResponseMessage:
    return {
        "id": message_id(job, number),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def to_part(piece: TextPiece) -> ResponseText:
    logprobs = to_content(piece.logprobs)
    return {"type": "output_text", "text": piece.text, "annotations": [], "logprobs": logprobs}


def _tool_choice(tools: Tools | None, fields: ResponseFields) -> ResponseToolChoice:
    if tools is None:
        return "auto" if fields.unshown is None else "none"
    if tools.named is not None:
        return {"type": "function", "name": tools.named}
    return "required" if tools.required else "auto"


def _functions(tools: Tools | None, fields: ResponseFields) -> list[ResponseFunction]:
    if tools is None:
        return cast("list[ResponseFunction]", fields.unshown or [])
    return [_function(function) for function in tools.functions]


def _function(function: Function) -> ResponseFunction:
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": json.loads(function.parameters),
        "strict": function.strict_schema is not None,
    }


def _instructions(response: StoredResponse) -> str | None:
    if not response.fields.instructed:
        return None
    return "".join(p.text for p in response.request.messages[0].parts if isinstance(p, Text))


def _format(body: dict[str, Any] | None, enforced: Format | None) -> HeldFormat:
    """The format, with the schema in the form that answers are held to."""
    if body is None or enforced is None:
        return {"type": "text"}
    answer = cast(HeldFormat, dict(body))
    if answer["type"] == "json_schema":
        answer["schema"] = json.loads(enforced.content)
    return answer


def _usage(usage: Usage) -> ResponseUsage:
    details: InputTokenDetails = {
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": 0,
        "image_tokens": usage.image_tokens,
    }
    if usage.pictures:
        details["pictures"] = [to_picture(picture) for picture in usage.pictures]
    if usage.audio_tokens:
        details["audio_tokens"] = usage.audio_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
