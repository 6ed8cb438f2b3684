"""POST /v1/chat/completions: OpenAI's chat, as its SDKs and Hugging Face's clients send it.

In order: the request's body, the whole answer, the chunks of a streamed one. Parameters of OpenAI's reference
and of Hugging Face's chat-completion page are known by name. Those that would change the answer and are not
implemented are refused, never ignored.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import FinishWord, ToolCall, finish_of, split_answer, to_tool_call, to_tool_calls
from api.dialects.fields import Metadata
from api.dialects.logprobs import ChatLogprobs, to_chat_logprobs, wanted
from api.dialects.messages import WireMessages, has_prefix, to_messages
from api.dialects.openai.usage import TokensSoFar, TokenUsage, to_usage
from api.dialects.sampling import (
    SERVICE_TIERS,
    AnsweredTier,
    PriorityNumber,
    Sampling,
    to_parameters,
    to_priority,
)
from api.dialects.strict_json import RequestBody, invalid, read, unsupported
from api.dialects.tools import ToolBodies, ToolChoice, to_tools
from api.dialects.unknown_fields import CHAT
from shared.job import JobView, Priority
from shared.request import Message, Request
from shared.result import Choice, Logprobs, Result, logprobs_of
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import AnswerPart, Reader
from shared.tool_calls.thoughts import Thought, syntax_in

TopLogprobs = Annotated[int, Field(ge=0, le=20)]


class StreamOptions(RequestBody):
    """Whether a last chunk counts the tokens, or, by vLLM's name beside it, every chunk."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None

    @property
    def running_usage(self) -> bool:
        return bool(self.include_usage and self.continuous_usage_stats)


class ChatBody(Sampling):
    constraints = CHAT
    model: str | None = None
    messages: WireMessages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    continue_final_message: bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    tools: ToolBodies = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    priority: PriorityNumber = None


@dataclass
class Completion:
    """A call of a chat route. The request's `model` is as the caller wrote it, "" for none."""

    request: Request
    stream: bool
    options: StreamOptions
    metadata: dict[str, str] = field(default_factory=dict)
    stored: bool = True
    priority: Priority = "normal"


def from_chat(body: Any) -> Completion:
    """Raises CallerError naming the field."""
    chat = read(ChatBody, body)
    messages = to_messages(chat.messages, "messages")
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
    return Completion(
        request,
        stream=bool(chat.stream),
        options=chat.stream_options or StreamOptions(),
        metadata=chat.metadata or {},
        stored=chat.store is not False,
        priority=to_priority(chat.service_tier, chat.priority),
    )


def continues(flag: bool | None, turns: list[Any] | None, last: Message) -> bool:
    """Whether the final assistant message is continued, by the flag or by its own `prefix`.

    Raises CallerError where there is none to extend.
    """
    prefix = turns is not None and has_prefix(turns[-1])
    if prefix and flag is False:
        raise invalid("continue_final_message", "contradicts `prefix` of the final message; send one of them")
    if (flag or prefix) and (last.role != "assistant" or last.calls):
        raise invalid("continue_final_message", "needs a final message of the assistant; add one")
    return bool(flag or prefix)


class Reasoning(TypedDict, total=False):
    """What the model thought first, under the names that OpenAI's clients look for."""

    reasoning: str
    reasoning_content: str


class ChatMessage(Reasoning):
    """`content` is null where it is nothing but calls or thoughts."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: NotRequired[Annotated[list[ToolCall], Field(description="Where it calls functions.")]]


class ChatChoice(TypedDict):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishWord


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage
    service_tier: AnsweredTier
    system_fingerprint: str


def to_completion(job: JobView) -> ChatCompletion:
    result = result_of(job)
    choices = [_choice(job.id, result, i) for i in range(len(result.choices))]
    answer = chunk_head(job).write("chat.completion", choices, to_usage(result.usage))
    return cast(ChatCompletion, answer)


def result_of(job: JobView) -> Result:
    """The result of a job that succeeded. Raises ValueError for any other."""
    if job.result is None:
        raise ValueError(f"job {job.id} is {job.status} and has no result")
    return job.result


def _choice(job: str, result: Result, index: int) -> ChatChoice:
    choice = result.choices[index]
    answer = split_answer(choice.text, result.syntax)
    message: ChatMessage = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning"] = message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = to_tool_calls(job, index, answer.calls)
    return {
        "index": index,
        "message": message,
        "logprobs": to_chat_logprobs(choice.logprobs),
        "finish_reason": finish_of(choice.finish_reason, len(answer.calls)),
    }


class ToolCallDelta(ToolCall):
    """A call is sent whole; `index` is its place among those of its answer."""

    index: int


_CONTENT = "In every chunk but those of calls; empty without words, null after or for a call."


class ChatDelta(Reasoning):
    role: NotRequired[Annotated[Literal["assistant"], Field(description="In the first chunk.")]]
    content: NotRequired[Annotated[str | None, Field(description=_CONTENT)]]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChatChunkChoice(TypedDict):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishWord | None


class ChatCompletionChunk(TypedDict):
    """`usage` is there where stream_options.include_usage was sent: null, and numbers in the last chunk. With
    continuous_usage_stats all have numbers but those of an answer without text.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    service_tier: AnsweredTier
    system_fingerprint: str | None
    choices: list[ChatChunkChoice]
    usage: NotRequired[TokenUsage | TokensSoFar | None]


@dataclass(frozen=True)
class ChunkHead:
    """What every chunk of one stream repeats; `created` in Unix seconds."""

    id: str
    model: str
    created: int
    include_usage: bool = False
    fingerprint: str | None = None
    priority: Priority = "normal"

    def write(self, kind: str, choices: Sequence[Any], usage: TokenUsage | None = None) -> dict[str, Any]:
        """A chunk, or a whole answer."""
        answer = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "service_tier": SERVICE_TIERS[self.priority],
            "system_fingerprint": self.fingerprint,
        }
        return answer | ({"usage": usage} if usage or self.include_usage else {})


def chunk_head(job: JobView, *, usage: bool = False) -> ChunkHead:
    """The fingerprint is known before the end only where the answer was cached."""
    id = f"chatcmpl-{job.id.removeprefix('job_')}"
    fingerprint = None if job.result is None else job.result.fingerprint
    return ChunkHead(id, job.model, job.created_ms // 1000, usage, fingerprint, job.priority)


def chat_chunk(
    head: ChunkHead,
    index: int,
    delta: ChatDelta,
    reason: FinishWord | None = None,
    logprobs: Logprobs | None = None,
) -> ChatCompletionChunk:
    choice: ChatChunkChoice = {
        "index": index,
        "delta": delta,
        "logprobs": to_chat_logprobs(logprobs),
        "finish_reason": reason,
    }
    return _envelope(head, [choice])


def _envelope(
    head: ChunkHead, choices: list[ChatChunkChoice], usage: TokenUsage | None = None
) -> ChatCompletionChunk:
    return cast(ChatCompletionChunk, head.write("chat.completion.chunk", choices, usage))


class ChatChunkWriter:
    """Writes a job's events as chunks.

    Calls are sent once they are whole, words and thoughts as soon as they cannot be part of a call.
    `calls` says that the answer has to be a call.

    Where calls are required, or one was sent, chunks have no `content`: clients take even an empty text for a
    part of the answer.
    """

    def __init__(self, job: JobView, *, usage: bool, calls: bool = False) -> None:
        self._head = chunk_head(job, usage=usage)
        self._readers: dict[int, Reader] = {}
        self._logprobs_sent: Counter[int] = Counter()
        self._call_counts: dict[int, int] = {}
        self._empty = None if calls else ""

    def opening(self, answers: int) -> list[ChatCompletionChunk]:
        """The chunks before the first text of `answers` answers: a reader sees that the stream has begun."""
        delta: ChatDelta = {"role": "assistant", "content": self._empty}
        return [chat_chunk(self._head, index, delta) for index in range(answers)]

    def piece(self, data: dict[str, Any]) -> list[ChatCompletionChunk]:
        """The chunks of a `text` event."""
        index, logprobs, syntax = data.get("choice", 0), logprobs_of(data), syntax_in(data)
        self._logprobs_sent[index] += len(logprobs or ())
        if syntax is None:
            return [chat_chunk(self._head, index, {"content": data["text"]}, logprobs=logprobs)]
        reader = self._readers.setdefault(index, Reader(syntax))
        return self._parts(index, reader.feed(data["text"]), logprobs)

    def ending(self, result: Result) -> list[ChatCompletionChunk]:
        self._head = replace(self._head, fingerprint=result.fingerprint)
        chunks: list[ChatCompletionChunk] = []
        for index, choice in enumerate(result.choices):
            if index in self._readers:
                chunks += self._parts(index, self._readers[index].close(), None)
            reason = finish_of(choice.finish_reason, self._call_counts.get(index, 0))
            unsent = unsent_logprobs(choice, self._logprobs_sent[index])
            # Unless there are calls, it holds an empty text: published snippets read it from every chunk.
            delta: ChatDelta = {"content": self._no_content(index)}
            chunks.append(chat_chunk(self._head, index, delta, reason, unsent))
        if self._head.include_usage:
            # Only for callers that asked for it: published snippets read `choices[0]` of every chunk.
            chunks.append(_envelope(self._head, [], to_usage(result.usage)))
        return chunks

    def _parts(
        self, index: int, pieces: list[AnswerPart], logprobs: Logprobs | None
    ) -> list[ChatCompletionChunk]:
        chunks: list[ChatCompletionChunk] = []
        delta: ChatDelta
        if len(pieces) == 1 and isinstance(pieces[0], str):
            return [chat_chunk(self._head, index, {"content": pieces[0]}, logprobs=logprobs)]
        if logprobs is not None:
            # In a chunk of their own: logprobs of calls and of text held back are sent as well.
            delta = {"content": self._no_content(index)}
            chunks.append(chat_chunk(self._head, index, delta, logprobs=logprobs))
        for piece in pieces:
            if isinstance(piece, ParsedCall):
                number = self._call_counts.get(index, 0)
                call: ToolCallDelta = {"index": number, **to_tool_call(self._head.id, index, number, piece)}
                chunks.append(chat_chunk(self._head, index, {"tool_calls": [call]}))
                self._call_counts[index] = number + 1
            elif isinstance(piece, Thought):
                delta = {"content": self._no_content(index)}
                delta["reasoning"] = delta["reasoning_content"] = piece.text
                chunks.append(chat_chunk(self._head, index, delta))
            else:
                chunks.append(chat_chunk(self._head, index, {"content": piece}))
        return chunks

    def _no_content(self, index: int) -> str | None:
        return None if self._call_counts.get(index) else self._empty


def unsent_logprobs(choice: Choice, sent: int) -> Logprobs | None:
    """Logprobs for the last chunk, where they were asked for: those of no text, or of half a character."""
    return (choice.logprobs or ())[sent:] or (None if choice.logprobs else choice.logprobs)
