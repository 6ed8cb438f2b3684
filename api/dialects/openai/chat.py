"""POST /v1/chat/completions: OpenAI's chat, as its SDKs and Hugging Face's clients send it.

Parameters of OpenAI's reference and of Hugging Face's chat-completion page are known by name. Those that
would change the answer and are not implemented are refused, never ignored.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from api.dialects.calls import finish_of, to_tool_call, to_tool_calls, told
from api.dialects.fields import to_metadata
from api.dialects.logprobs import to_chat_logprobs, wanted
from api.dialects.messages import prefixed, to_messages
from api.dialects.sampling import CLASSES, TIERS, Count, Tier, TokenSampling, VllmNames, to_parameters
from api.dialects.strict_json import Harmless, Wire, invalid, read, refuse_unsupported, unsupported
from api.dialects.tools import refuse_functions, to_tools
from shared.job import JobView, Priority
from shared.request import Message, Request
from shared.result import Logprobs, Result, Usage
from shared.tool_calls.call import Called

TopLogprobs = Annotated[int, Field(ge=0, le=20)]


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None

    @property
    def counted(self) -> bool:
        """Whether every chunk counts; vLLM's name, which means nothing by itself there too."""
        return bool(self.include_usage and self.continuous_usage_stats)


class ChatBody(TokenSampling, VllmNames):
    model: str | None = None
    messages: list[Any]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    continue_final_message: bool | None = None
    # Mistral's name for `seed`.
    random_seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: Tier | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    add_special_tokens: Annotated[bool | None, Harmless(False)] = None
    tool_prompt: Annotated[str | None, Harmless()] = None
    functions: Annotated[list[Any] | None, Harmless([])] = None
    function_call: Annotated[str | dict[str, Any] | None, Harmless("none", "auto")] = None
    modalities: Annotated[list[str] | None, Harmless(["text"])] = None
    audio: Annotated[dict[str, Any] | None, Harmless()] = None
    moderation: Annotated[dict[str, Any] | None, Harmless()] = None
    web_search_options: Annotated[dict[str, Any] | None, Harmless()] = None
    reasoning_effort: Annotated[str | None, Harmless("none")] = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, Harmless("medium")] = None
    # Mistral's and OpenRouter's own, and samplers of other servers that their neutral value switches off.
    safe_prompt: Annotated[bool | None, Harmless(False)] = None
    transforms: Annotated[list[str] | None, Harmless([])] = None
    mirostat: Annotated[int | None, Harmless(0)] = None
    tfs_z: Annotated[float | None, Harmless(1.0)] = None
    top_a: Annotated[float | None, Harmless(0.0)] = None
    dry_multiplier: Annotated[float | None, Harmless(0.0)] = None
    dynatemp_range: Annotated[float | None, Harmless(0.0)] = None
    xtc_probability: Annotated[float | None, Harmless(0.0)] = None
    id_slot: Annotated[int | None, Harmless(-1)] = None
    return_progress: Annotated[bool | None, Harmless(False)] = None
    # llama.cpp's: it changes the time of an answer at most.
    cache_prompt: bool | None = None
    # On other services it speeds an answer up; it never changes it.
    prediction: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    # LiteLLM's own setting, which it sends on to Hugging Face's servers.
    max_retries: int | None = None


@dataclass(frozen=True)
class Chat:
    """A chat call: what to compute and how to answer. `request.model` is as the caller wrote it, "" for none.

    `others` are a text completion's further prompts, each a request of its own. `counted` adds the number of
    tokens so far to every chunk of the stream.
    """

    request: Request
    stream: bool
    include_usage: bool
    metadata: dict[str, str] = field(default_factory=dict)
    stored: bool = True
    priority: Priority = "normal"
    others: tuple[Request, ...] = ()
    counted: bool = False


@dataclass(frozen=True)
class ChunkHead:
    """What every chunk of one stream repeats; `created` in Unix seconds."""

    id: str
    model: str
    created: int
    include_usage: bool = False
    fingerprint: str | None = None
    priority: Priority = "normal"


def from_chat(body: Any) -> Chat:
    """Raises CallerError naming the field."""
    chat = read(ChatBody, body)
    refuse_functions(chat)
    refuse_unsupported(chat)
    messages = to_messages(chat.messages, "messages", bare_base64=False)
    continued = continues(chat.continue_final_message, chat.messages, messages[-1])
    if chat.add_generation_prompt is not None and chat.add_generation_prompt == continued:
        raise unsupported("add_generation_prompt")
    logprobs = wanted(chat.logprobs, chat.top_logprobs)
    parameters, named = to_parameters((chat, ""), logprobs=logprobs)
    request = Request(
        model=chat.model or "",
        messages=messages,
        parameters=parameters,
        tools=to_tools(chat.tools, chat.tool_choice, chat.parallel_tool_calls),
        continue_final=continued,
        named=named,
    )
    return Chat(
        request,
        stream=bool(chat.stream),
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        counted=bool(chat.stream_options and chat.stream_options.counted),
        metadata=to_metadata(chat.metadata),
        stored=chat.store is not False,
        priority=CLASSES[chat.service_tier or "auto"],
    )


def continues(flag: bool | None, sent: list[Any] | None, last: Message) -> bool:
    """Whether the final assistant message is continued, by the flag or by `prefix` as it was `sent`.

    Raises CallerError where there is none to extend.
    """
    asked = sent is not None and prefixed(sent[-1])
    if asked and flag is False:
        raise invalid("continue_final_message", "contradicts `prefix` of the final message; send one of them")
    if (flag or asked) and (last.role != "assistant" or last.calls):
        raise invalid("continue_final_message", "needs a final message of the assistant; add one")
    return bool(flag or asked)


def to_completion(view: JobView, model: str, created: int) -> dict[str, Any]:
    """The answer of a job that succeeded; `model` is the id as served."""
    result = result_of(view)
    return {
        "id": completion_id(view),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(view.id, result, i) for i in range(len(result.choices))],
        "usage": to_usage(result.usage),
        "service_tier": TIERS[view.priority],
        "system_fingerprint": result.fingerprint,
    }


def first_chunk(head: ChunkHead, index: int = 0, content: str | None = "") -> dict[str, Any]:
    """Sent before the first text, so that a reader sees the stream has begun."""
    return _chunk(head, index, {"role": "assistant", "content": content}, None)


def delta_chunk(
    head: ChunkHead, text: str | None, logprobs: Logprobs | None = None, index: int = 0
) -> dict[str, Any]:
    return _chunk(head, index, {"content": text}, None, logprobs)


def call_chunk(head: ChunkHead, number: int, called: Called, index: int) -> dict[str, Any]:
    """A whole call; `number` is its index in its answer."""
    call = {"index": number} | to_tool_call(head.id, index, number, called)
    return _chunk(head, index, {"tool_calls": [call]}, None)


def finish_chunk(
    head: ChunkHead,
    reason: str,
    index: int = 0,
    content: str | None = "",
    logprobs: Logprobs | None = None,
) -> dict[str, Any]:
    """Unless there are calls, its delta holds an empty text: published snippets read it from every chunk."""
    return _chunk(head, index, {"content": content}, reason, logprobs)


def usage_chunk(head: ChunkHead, usage: Usage) -> dict[str, Any]:
    """Only for callers that asked for it: published snippets read `choices[0]` of every chunk."""
    return _envelope(head) | {"choices": [], "usage": to_usage(usage)}


def to_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
            **heard(usage),
        },
    }


def heard(usage: Usage) -> dict[str, int]:
    """The audio tokens; empty where no sound was sent."""
    return {"audio_tokens": usage.audio_tokens} if usage.audio_tokens else {}


def completion_id(view: JobView) -> str:
    return f"chatcmpl-{view.id.removeprefix('job_')}"


def result_of(view: JobView) -> Result:
    """The result of a job that succeeded. Raises ValueError for any other."""
    if view.result is None:
        raise ValueError(f"job {view.id} is {view.status} and has no result")
    return view.result


def _choice(job: str, result: Result, index: int) -> dict[str, Any]:
    choice = result.choices[index]
    said = told(choice.text, result.syntax)
    calls = {"tool_calls": to_tool_calls(job, index, said.calls)} if said.calls else {}
    return {
        "index": index,
        "message": {"role": "assistant", "content": said.words, "refusal": None} | calls,
        "logprobs": to_chat_logprobs(choice.logprobs),
        "finish_reason": finish_of(choice.finish_reason, len(said.calls)),
    }


def _chunk(
    head: ChunkHead,
    index: int,
    delta: dict[str, Any],
    reason: str | None,
    logprobs: Logprobs | None = None,
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": to_chat_logprobs(logprobs), "finish_reason": reason}
    usage = {"usage": None} if head.include_usage else {}
    return _envelope(head) | {"choices": [choice]} | usage


def _envelope(head: ChunkHead) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "service_tier": TIERS[head.priority],
        "system_fingerprint": head.fingerprint,
    }
