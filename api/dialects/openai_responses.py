"""POST /v1/responses: OpenAI's Responses, as its SDKs send them.

Fields that would change the answer but are not implemented are refused, never ignored: OpenAI's own tools,
reasoning, stored prompts, conversations, moderation. `seed`, `stop`, `top_k` and the like are fields of the
other APIs.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from api.dialects.formats import TextFormat
from api.dialects.harmless import Harmless, refuse_unsupported
from api.dialects.metadata import to_metadata
from api.dialects.openai_chat import TopLogprobs
from api.dialects.refusals import invalid
from api.dialects.response_items import from_input
from api.dialects.response_object import Outline, detailed
from api.dialects.sampling import Count, Sampling, to_parameters
from api.dialects.strict_json import Wire, read
from api.dialects.tiers import CLASSES, Tier
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
