"""POST /v1/completions: a prompt without pictures."""

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.logprobs import TextLogprobs, to_text_logprobs
from api.dialects.openai.chat import (
    ChunkHead,
    ChunkWriter,
    Completion,
    StreamOptions,
    chunk_head,
    result_of,
    unsent_logprobs,
)
from api.dialects.openai.usage import TokensSoFar, TokenUsage, to_usage
from api.dialects.sampling import (
    AnsweredTier,
    PriorityNumber,
    Raw,
    Sampling,
    to_parameters,
    to_priority,
)
from api.dialects.strict_json import described_as, invalid, read
from api.dialects.unknown_fields import COMPLETION
from shared.job import JobView
from shared.request import Message, Request, Text
from shared.result import FinishReason, Logprobs, Result, logprobs_of
from shared.tool_calls.thoughts import SpokenTexts, read_answer_syntax, split_thoughts, syntax_in

_OnePrompt = Annotated[list[str], Field(min_length=1, max_length=1)]


class CompletionBody(Sampling):
    """The body; huggingface.js spreads its text-generation parameters over it."""

    constraints = COMPLETION
    model: str | None = None
    prompt: Annotated[str | Annotated[list[str], Field(min_length=1)], described_as(str | _OnePrompt)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    raw: Raw = None
    priority: PriorityNumber = None


def from_completion(body: Any) -> Completion:
    """Raises CallerError naming the field."""
    call = read(CompletionBody, body)
    path, prompt = "prompt", call.prompt
    if isinstance(prompt, list):
        if len(prompt) > 1:
            raise invalid("prompt", "takes one text; send the others in calls of their own, or as a batch")
        path, prompt = "prompt[0]", prompt[0]
    parameters, named = to_parameters((call, ""), logprobs=call.logprobs)
    request = Request(
        model=call.model or "",
        messages=(Message(role="user", parts=(Text(text=prompt),)),),
        parameters=parameters,
        raw=bool(call.raw),
        named={**named, "messages": path},
    )
    return Completion(
        request,
        stream=bool(call.stream),
        options=call.stream_options or StreamOptions(),
        priority=to_priority(None, call.priority),
    )


class TextChoice(TypedDict):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextCompletion(TypedDict):
    """Whole, or one chunk of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    service_tier: AnsweredTier
    system_fingerprint: str | None
    choices: list[TextChoice]
    usage: NotRequired[TokenUsage | TokensSoFar | None]


def to_text_completion(job: JobView, model: str, created: int) -> TextCompletion:
    """The answer of a job that succeeded; `model` is the id as served."""
    result = result_of(job)
    head = ChunkHead(text_completion_id(job), model, created, False, result.fingerprint, job.priority)
    texts = [_told(choice.text, result.syntax) for choice in result.choices]
    choices = [
        _choice(index, text, choice.finish_reason, choice.logprobs)
        for index, (text, choice) in enumerate(zip(texts, result.choices, strict=True))
    ]
    return _envelope(head, choices, to_usage(result.usage))


def _told(text: str, syntax: str | None) -> str:
    """All that the model wrote, but for thoughts that the caller does not want."""
    return text if read_answer_syntax(syntax).told else split_thoughts(text, syntax)[1]


def text_completion_id(job: JobView) -> str:
    return f"cmpl-{job.id.removeprefix('job_')}"


def _choice(index: int, text: str, reason: FinishReason | None, logprobs: Logprobs | None) -> TextChoice:
    return {"index": index, "text": text, "logprobs": to_text_logprobs(logprobs), "finish_reason": reason}


def text_chunk(
    head: ChunkHead,
    index: int,
    text: str,
    reason: FinishReason | None = None,
    logprobs: Logprobs | None = None,
) -> TextCompletion:
    return _envelope(head, [_choice(index, text, reason, logprobs)])


def _envelope(head: ChunkHead, choices: list[TextChoice], usage: TokenUsage | None = None) -> TextCompletion:
    return cast(TextCompletion, head.write("text_completion", choices, usage))


class TextChunkWriter(ChunkWriter[TextCompletion]):
    def __init__(self, job: JobView, *, usage: bool, calls: bool = False) -> None:  # noqa: ARG002
        self._head = chunk_head(text_completion_id(job), job, usage=usage)
        self._logprobs_sent: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        self._spoken = SpokenTexts()

    def opening(self, answers: int) -> list[TextCompletion]:  # noqa: ARG002
        return []

    def piece(self, data: dict[str, Any]) -> list[TextCompletion]:
        index, logprobs = data.get("choice", 0), logprobs_of(data)
        self._logprobs_sent[index] += len(logprobs or ())
        text = (data if read_answer_syntax(syntax_in(data)).told else self._spoken.read(data))["text"]
        self._sent[index] += len(text)
        return [text_chunk(self._head, index, text, logprobs=logprobs)]

    def ending(self, result: Result) -> list[TextCompletion]:
        self._head = replace(self._head, fingerprint=result.fingerprint)
        chunks = [
            text_chunk(
                self._head,
                index,
                _told(choice.text, result.syntax)[self._sent[index] :],
                choice.finish_reason,
                unsent_logprobs(choice, self._logprobs_sent[index]),
            )
            for index, choice in enumerate(result.choices)
        ]
        if self._head.include_usage:
            chunks.append(_envelope(self._head, [], to_usage(result.usage)))
        return chunks
