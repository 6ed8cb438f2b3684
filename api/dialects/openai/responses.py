"""POST /v1/responses: OpenAI's Responses, as its SDKs send them.

Fields that would change the answer but are not implemented are refused, never ignored: OpenAI's own tools,
reasoning, stored prompts, conversations, moderation. `seed`, `stop`, `top_k` and the like are fields of the
other APIs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from api.dialects.fields import to_metadata
from api.dialects.formats import TextFormat
from api.dialects.openai.chat import TopLogprobs
from api.dialects.openai.response_items import from_input
from api.dialects.openai.response_object import Outline, detailed
from api.dialects.sampling import CLASSES, Count, Sampling, Tier, to_parameters
from api.dialects.strict_json import Harmless, Wire, invalid, read, refuse_unsupported
from api.dialects.tools import to_tools, to_unshown
from shared.job import Priority
from shared.request import Message, Request, Text

LOGPROBS = "message.output_text.logprobs"
PICTURES = "message.input_image.image_url"
# Ours: OpenAI names no include for it.
SOUNDS = "message.input_audio.data"
Includable = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "message.input_audio.data",
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


class TextConfig(Wire):
    format: TextFormat | None = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, Harmless("medium")] = None


class Reasoning(Wire):
    effort: Annotated[str | None, Harmless("none")] = None
    # Of thoughts that are not told apart from the answer there is nothing to summarise.
    summary: Annotated[str | None, Harmless("auto")] = None
    generate_summary: Annotated[str | None, Harmless("auto")] = None
    context: Annotated[str | None, Harmless("auto")] = None
    mode: Annotated[str | None, Harmless("standard")] = None


class CacheOptions(Wire):
    """What is read again is known again without being asked (docs/engine.md)."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: str | None = None
    comparison_response_id: Annotated[str | None, Harmless()] = None
    prewarm: Annotated[bool | None, Harmless(False)] = None


class ResponseStreamOptions(Wire):
    include_obfuscation: bool | None = None


class ResponseBody(Sampling):
    model: str | None = None
    input: str | list[Any]
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Count | None = None
    top_logprobs: TopLogprobs | None = None
    include: list[Includable] | None = None
    text: TextConfig | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    # The ids that Codex gives its own sessions and turns.
    client_metadata: dict[str, Any] | None = None
    service_tier: Tier | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[Count, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    conversation: Annotated[str | dict[str, Any] | None, Harmless()] = None
    prompt: Annotated[dict[str, Any] | None, Harmless()] = None
    context_management: Annotated[list[Any] | None, Harmless([])] = None
    moderation: Annotated[dict[str, Any] | None, Harmless()] = None
    image: Annotated[
        dict[str, Any] | None,
        Harmless({}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
    ] = None
    access_programs: Annotated[dict[str, Any] | None, Harmless()] = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: str | None = None
    background_options: Annotated[dict[str, Any] | None, Harmless({}, {"completion_window": "soonest"})] = (
        None
    )


@dataclass(frozen=True)
class ResponseTurn:
    """A call: what to compute, how to answer and what to remember of it.

    `request.model` is as the caller wrote it, "" for none. Its messages are only this turn's, without the
    earlier conversation.
    """

    request: Request
    outline: Outline
    stream: bool
    stored: bool
    metadata: dict[str, str]
    priority: Priority


def from_response(body: Any) -> ResponseTurn:
    """Raises CallerError naming the field."""
    said = read(ResponseBody, body)
    refuse_unsupported(said)
    parameters, named = to_parameters(
        (said, ""), (said.text or TextConfig(), "text"), logprobs=_logprobs(said)
    )
    request = Request(
        model=said.model or "",
        messages=_messages(said),
        parameters=parameters,
        tools=to_tools(said.tools, said.tool_choice, said.parallel_tool_calls, flat=True),
        unshown=to_unshown(said.tools, said.tool_choice),
        named={**named, "messages": "input"},
    )
    return ResponseTurn(
        request=request,
        outline=detailed(_outline(said), request),
        stream=bool(said.stream),
        stored=said.store is not False,
        metadata=to_metadata(said.metadata),
        priority=CLASSES[said.service_tier or "auto"],
    )


def _messages(said: ResponseBody) -> tuple[Message, ...]:
    asked = from_input(said.input)
    if not said.instructions:
        return asked
    return (Message(role="system", parts=(Text(text=said.instructions),)), *asked)


def _logprobs(said: ResponseBody) -> int | None:
    """How many alternatives to give for each token; None for no logprobs at all."""
    if LOGPROBS in (said.include or ()):
        return said.top_logprobs or 0
    if said.top_logprobs:
        raise invalid("top_logprobs", f"needs `{LOGPROBS}` in `include`")
    return None


def _outline(said: ResponseBody) -> Outline:
    form = said.text.format if said.text else None
    return Outline(
        background=bool(said.background),
        instructed=bool(said.instructions),
        previous=said.previous_response_id,
        format=None if form is None else form.model_dump(exclude={"schema_"}, exclude_none=True),
        parallel=said.parallel_tool_calls is not False,
        max_tool_calls=said.max_tool_calls,
        user=said.user,
        safety_identifier=said.safety_identifier,
        prompt_cache_key=said.prompt_cache_key,
    )


# Resolves references: items of earlier answers that a response's input names by their ids.
#
# Vercel's AI SDK sends them by default: an answer's items come back as their ids alone.

MOST = 256
"""References of one call: each may name another response, which must be looked up."""


class Reference(Wire):
    type: Literal["item_reference"]
    id: str


def references(body: Any) -> dict[int, str]:
    """The ids that the input names, by their places in it. Raises CallerError naming the item."""
    items = body.get("input") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return {}
    found = {
        place: read(Reference, item, f"input[{place}]").id
        for place, item in enumerate(items)
        if isinstance(item, dict) and item.get("type") == "item_reference"
    }
    if len(found) > MOST:
        raise invalid("input", f"names more than {MOST} items; send them, or `previous_response_id`")
    return found


def response_of(item: str) -> str:
    """The response whose answer would hold an item of this id."""
    return f"resp_{item.partition('_')[2].partition('_')[0]}"


def written_out(body: dict[str, Any], items: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """The body with its references replaced by these items."""
    return body | {"input": [items.get(place, item) for place, item in enumerate(body["input"])]}
