"""POST /v1/completions: one or several prompts without pictures, each a request of its own."""

from typing import Annotated, Any

from pydantic import Field

from api.dialects.formats import Grammar
from api.dialects.logprobs import to_text_logprobs
from api.dialects.openai.chat import Chat, ChunkHead, StreamOptions, result_of, to_usage
from api.dialects.sampling import Count, TokenSampling, VllmNames, to_parameters
from api.dialects.strict_json import Harmless, read, refuse_unsupported
from shared.job import JobView
from shared.request import MOST_PROMPTS, Message, Request, Text
from shared.result import FinishReason, Logprobs, Usage


class CompletionBody(TokenSampling, VllmNames):
    """The body; huggingface.js spreads its text-generation parameters over it."""

    model: str | None = None
    prompt: str | Annotated[list[str], Field(min_length=1)]
    max_tokens: Count | None = None
    max_new_tokens: Count | None = None
    do_sample: bool | None = None
    typical_p: float | None = None
    stop_sequences: list[str] | None = None
    grammar: Grammar | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    add_special_tokens: Annotated[bool | None, Harmless(True)] = None
    suffix: Annotated[str | None, Harmless("")] = None
    return_full_text: Annotated[bool | None, Harmless(False)] = None
    adapter_id: Annotated[str | None, Harmless()] = None
    decoder_input_details: Annotated[bool | None, Harmless(False)] = None
    # huggingface.js sends it to this route too, but returns only the text to its caller.
    details: bool | None = None
    top_n_tokens: Annotated[int | None, Harmless(0)] = None
    truncate: Annotated[int | None, Harmless()] = None
    watermark: Annotated[bool | None, Harmless(False)] = None
    user: str | None = None


def from_completion(body: Any) -> Chat:
    """Raises CallerError naming the field."""
    call = read(CompletionBody, body)
    refuse_unsupported(call)
    parameters, named = to_parameters((call, ""), logprobs=call.logprobs)
    first, *others = (
        Request(
            model=call.model or "",
            messages=(Message(role="user", parts=(Text(text=text),)),),
            parameters=parameters,
            named={**named, "messages": place},
        )
        for place, text in _prompts(call.prompt)
    )
    return Chat(
        first,
        stream=bool(call.stream),
        include_usage=bool(call.stream_options and call.stream_options.include_usage),
        others=tuple(others),
        counted=bool(call.stream_options and call.stream_options.counted),
    )


def _prompts(prompt: str | list[str]) -> list[tuple[str, str]]:
    """Each prompt with the field that errors name; cut after one more than may be sent."""
    if isinstance(prompt, str):
        return [("prompt", prompt)]
    return [(f"prompt[{number}]", text) for number, text in enumerate(prompt[: MOST_PROMPTS + 1])]


def to_text_completion(view: JobView, model: str, created: int) -> dict[str, Any]:
    """The answer of a job that succeeded; `model` is the id as served."""
    result = result_of(view)
    head = ChunkHead(text_completion_id(view), model, created, fingerprint=result.fingerprint)
    choices = [
        _choice(i, choice.text, choice.finish_reason, choice.logprobs)
        for i, choice in enumerate(result.choices)
    ]
    return _envelope(head) | {"choices": choices, "usage": to_usage(result.usage)}


def text_chunk(head: ChunkHead, text: str, told: Logprobs | None = None, index: int = 0) -> dict[str, Any]:
    return _chunk(head, _choice(index, text, None, told))


def text_finish_chunk(
    head: ChunkHead, reason: FinishReason, index: int = 0, told: Logprobs | None = None
) -> dict[str, Any]:
    return _chunk(head, _choice(index, "", reason, told))


def text_usage_chunk(head: ChunkHead, usage: Usage) -> dict[str, Any]:
    """Only for callers that asked for it."""
    return _envelope(head) | {"choices": [], "usage": to_usage(usage)}


def text_completion_id(view: JobView) -> str:
    return f"cmpl-{view.id.removeprefix('job_')}"


def _choice(index: int, text: str, reason: FinishReason | None, told: Logprobs | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": to_text_logprobs(told), "finish_reason": reason}


def _chunk(head: ChunkHead, choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"usage": None} if head.include_usage else {}
    return _envelope(head) | {"choices": [choice]} | usage


def _envelope(head: ChunkHead) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }
