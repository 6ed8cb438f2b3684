"""POST /v1/responses: OpenAI's Responses, as its SDKs send them.

`seed`, `stop`, `top_k` and the like are fields of the other APIs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from api.dialects.fields import Metadata
from api.dialects.formats import TextFormat
from api.dialects.openai.chat import TopLogprobs
from api.dialects.openai.response_items import InputItems, Reference, from_input
from api.dialects.openai.response_object import ResponseFields, with_details
from api.dialects.sampling import Count, PriorityNumber, Sampling, to_parameters, to_priority
from api.dialects.strict_json import RequestBody, described_as, invalid, read, unsupported
from api.dialects.tools import FlatToolChoice, FlatTools, to_tools, to_unshown
from api.dialects.unknown_fields import RESPONSE
from shared.job import Priority
from shared.request import Message, Request, Text
from shared.variables import Word

LOGPROBS = "message.output_text.logprobs"
PICTURES = "message.input_image.image_url"
Includable = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""Includes of things that are never made here leave nothing out, so they are accepted."""
INCLUDABLE: tuple[str, ...] = get_args(Includable)

Label = Annotated[str, Field(max_length=512)]


class TextConfig(RequestBody):
    format: TextFormat | None = None


class Reasoning(RequestBody):
    effort: Word | None = None


class ResponseBody(Sampling):
    constraints = RESPONSE
    model: str | None = None
    input: Annotated[str | list[Any], described_as(str | InputItems)]
    instructions: str | None = None
    previous_response_id: str | None = None
    top_logprobs: TopLogprobs | None = None
    include: list[Includable] | None = None
    text: TextConfig | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    priority: PriorityNumber = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    stream: bool | None = None
    tools: FlatTools = None
    tool_choice: FlatToolChoice = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[Count, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None


@dataclass
class ResponseTurn:
    """What to compute, how to answer and what to remember of it.

    A request's `model` is as the caller wrote it, "" for none. Its messages are only this turn's, without the
    earlier conversation.
    """

    request: Request
    fields: ResponseFields
    stream: bool
    stored: bool
    metadata: dict[str, str]
    priority: Priority


def from_response(body: Any) -> ResponseTurn:
    """Raises CallerError naming the field."""
    call = read(ResponseBody, body)
    if call.reasoning and call.reasoning.effort:
        call = call.model_copy(update={"reasoning_effort": call.reasoning.effort})
    sources = (call, ""), (call.text or TextConfig(), "text")
    parameters, named = to_parameters(*sources, logprobs=_logprobs(call))
    if parameters.n:
        raise unsupported(named.get("n", "n"))
    request = Request(
        model=call.model or "",
        messages=_messages(call),
        parameters=parameters,
        tools=to_tools(call.tools, call.tool_choice, call.parallel_tool_calls, flat=True),
        unshown=to_unshown(call.tools, call.tool_choice),
        named={**named, "messages": "input"},
    )
    return ResponseTurn(
        request=request,
        fields=with_details(_fields(call), request),
        stream=bool(call.stream),
        stored=call.store is not False,
        metadata=call.metadata or {},
        priority=to_priority(call.service_tier, call.priority),
    )


def _messages(call: ResponseBody) -> tuple[Message, ...]:
    turns = from_input(call.input)
    if not call.instructions:
        return turns
    return (Message(role="system", parts=(Text(text=call.instructions),)), *turns)


def _logprobs(call: ResponseBody) -> int | None:
    """How many alternatives to give for each token; None for no logprobs at all."""
    return (call.top_logprobs or 0) if LOGPROBS in (call.include or ()) else call.top_logprobs or None


def _fields(call: ResponseBody) -> ResponseFields:
    form = call.text.format if call.text else None
    return ResponseFields(
        background=bool(call.background),
        instructed=bool(call.instructions),
        previous=call.previous_response_id,
        format=None if form is None else form.model_dump(exclude={"schema_"}, exclude_none=True),
        parallel=call.parallel_tool_calls is not False,
        max_tool_calls=call.max_tool_calls,
        user=call.user,
        safety_identifier=call.safety_identifier,
        prompt_cache_key=call.prompt_cache_key,
    )


MAX_REFERENCES = 256
"""References of one call: each may name another response, which must be looked up."""


def references(body: Any) -> dict[int, str]:
    """The ids of earlier answers' items that the input names, by their places in it.

    Raises CallerError naming the item.
    """
    items = body.get("input") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return {}
    ids = {
        place: read(Reference, item, f"input[{place}]").id
        for place, item in enumerate(items)
        if isinstance(item, dict) and item.get("type") == "item_reference"
    }
    if len(ids) > MAX_REFERENCES:
        message = f"names more than {MAX_REFERENCES} items; send them, or `previous_response_id`"
        raise invalid("input", message)
    return ids


def response_of(item: str) -> str:
    """The response whose answer would hold an item of this id."""
    return f"resp_{item.partition('_')[2].partition('_')[0]}"


def with_items(body: dict[str, Any], items: Mapping[int, Any]) -> dict[str, Any]:
    """The body with its references replaced by these items."""
    return body | {"input": [items.get(place, item) for place, item in enumerate(body["input"])]}
