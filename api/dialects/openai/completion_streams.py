"""Writes a job's events as the stream chunks of OpenAI's chat completions and completions."""

from collections import Counter
from dataclasses import replace
from typing import Any, Protocol

from api.dialects.calls import finish_of
from api.dialects.openai.chat import (
    ChunkHead,
    call_chunk,
    completion_id,
    delta_chunk,
    finish_chunk,
    first_chunk,
    usage_chunk,
)
from api.dialects.openai.completions import (
    text_chunk,
    text_completion_id,
    text_finish_chunk,
    text_usage_chunk,
)
from shared.job import JobView
from shared.result import Choice, Logprobs, Result, logprobs_of
from shared.tool_calls.call import Called
from shared.tool_calls.parser import Reader, Said

Chunk = dict[str, Any]


class Stream(Protocol):
    """`usage` says whether the last chunk counts the tokens, `calls` whether the answer has to be a call."""

    def __init__(self, view: JobView, *, usage: bool, calls: bool = False) -> None: ...

    def opening(self, answers: int) -> list[Chunk]:
        """The chunks before the first piece of `answers` answers."""

    def piece(self, data: dict[str, Any]) -> list[Chunk]:
        """The chunks of a `text` event."""

    def ending(self, result: Result) -> list[Chunk]: ...


class ChatStream(Stream):
    """Sends calls once they are whole, and words as soon as they cannot be part of one.

    Where calls are required, or one was sent, chunks have no `content`: clients take even an empty text for a
    part of the answer.
    """

    def __init__(self, view: JobView, *, usage: bool, calls: bool = False) -> None:
        self._head = _head(completion_id(view), view, usage=usage)
        self._readers: dict[int, Reader] = {}
        self._calls: dict[int, int] = {}
        self._empty = None if calls else ""

    def opening(self, answers: int) -> list[Chunk]:
        return [first_chunk(self._head, index, self._empty) for index in range(answers)]

    def piece(self, data: dict[str, Any]) -> list[Chunk]:
        index, told = data.get("choice", 0), logprobs_of(data)
        if "syntax" not in data:
            return [delta_chunk(self._head, data["text"], told, index)]
        reader = self._readers.setdefault(index, Reader(data["syntax"]))
        return self._said(index, reader.feed(data["text"]), told)

    def ending(self, result: Result) -> list[Chunk]:
        self._head = replace(self._head, fingerprint=result.fingerprint)
        chunks = []
        for index, choice in enumerate(result.choices):
            if index in self._readers:
                chunks += self._said(index, self._readers[index].close(), None)
            reason = finish_of(choice.finish_reason, self._calls.get(index, 0))
            chunks.append(finish_chunk(self._head, reason, index, self._silence(index), _untold(choice)))
        return [*chunks, usage_chunk(self._head, result.usage)] if self._head.include_usage else chunks

    def _said(self, index: int, said: list[Said], told: Logprobs | None) -> list[Chunk]:
        # In a chunk of their own: logprobs of calls and of text held back are sent as well.
        chunks = [] if told is None else [delta_chunk(self._head, self._silence(index), told, index)]
        for piece in said:
            if isinstance(piece, Called):
                chunks.append(call_chunk(self._head, self._calls.get(index, 0), piece, index))
                self._calls[index] = self._calls.get(index, 0) + 1
            else:
                chunks.append(delta_chunk(self._head, piece, None, index))
        return chunks

    def _silence(self, index: int) -> str | None:
        return None if self._calls.get(index) else self._empty


class TextStream(Stream):
    def __init__(self, view: JobView, *, usage: bool, calls: bool = False) -> None:  # noqa: ARG002
        self._head = _head(text_completion_id(view), view, usage=usage)

    def opening(self, answers: int) -> list[Chunk]:  # noqa: ARG002
        return []

    def piece(self, data: dict[str, Any]) -> list[Chunk]:
        return [text_chunk(self._head, data["text"], logprobs_of(data), data.get("choice", 0))]

    def ending(self, result: Result) -> list[Chunk]:
        self._head = replace(self._head, fingerprint=result.fingerprint)
        ends = [
            text_finish_chunk(self._head, choice.finish_reason, index, _untold(choice))
            for index, choice in enumerate(result.choices)
        ]
        return [*ends, text_usage_chunk(self._head, result.usage)] if self._head.include_usage else ends


def _head(id: str, view: JobView, *, usage: bool) -> ChunkHead:
    """The fingerprint is known before the end only where the answer was cached."""
    known = None if view.result is None else view.result.fingerprint
    return ChunkHead(id, view.model, view.created_ms // 1000, usage, known, view.priority)


def _untold(choice: Choice) -> Logprobs | None:
    """Logprobs for the last chunk: the empty ones of an answer without text, where they were asked for."""
    return None if choice.logprobs else choice.logprobs


class Counting:
    """Adds to every chunk how many tokens its answer has so far, where that is `wanted`."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._prompts: dict[int, int] = {}
        self._answers: Counter[int] = Counter()

    def count(self, data: dict[str, Any]) -> None:
        """Take in a `text` event."""
        index = data.get("choice", 0)
        if "prompt_tokens" in data:
            self._prompts[index] = data["prompt_tokens"]
        self._answers[index] += len(data["ids"])

    def opened(self, opening: list[Chunk], index: int | None = None) -> list[Chunk]:
        """Take the chunks of `opening` that are due: all at the end, or where nothing is counted.

        The number of a prompt's tokens is only known with its answer's first piece.
        """
        due = [c for c in opening if not self._wanted or index in (None, c["choices"][0]["index"])]
        opening[:] = [chunk for chunk in opening if chunk not in due]
        return [self._counted(chunk, 0) for chunk in due] if self._wanted else due

    def told(self, chunks: list[Chunk]) -> list[Chunk]:
        """Add the counts to chunks; those without a choice have their own."""
        if not self._wanted:
            return chunks
        return [
            self._counted(chunk, self._answers[chunk["choices"][0]["index"]]) if chunk["choices"] else chunk
            for chunk in chunks
        ]

    def _counted(self, chunk: Chunk, answer: int) -> Chunk:
        """The chunk with counts; unchanged for an answer without text, or from a worker that reports none."""
        prompt = self._prompts.get(chunk["choices"][0]["index"])
        if prompt is None:
            return chunk
        counts = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        return chunk | {"usage": counts}
