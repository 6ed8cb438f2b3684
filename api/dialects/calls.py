"""Calls of functions on the wire: as callers send them back, and as answers write them."""

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.strict_json import RequestBody, described_as, parse, read, render, unsupported_kind
from api.dialects.unknown_fields import ignore
from shared import request
from shared.errors import CallerError
from shared.result import FinishReason, Logprobs, TokenLogprob
from shared.tool_calls.call import NAME, ParsedCall
from shared.tool_calls.parser import AnswerPart, Reader
from shared.tool_calls.thoughts import Thought

FinishWord = FinishReason | Literal["tool_calls"]
FunctionName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
OnlyFunction = Annotated[str | None, described_as(Literal["function"] | None)]
"""The type of a tool or a call: `check_function` refuses any other, by name."""


class CalledBody(RequestBody):
    name: str
    arguments: Annotated[Any, described_as(str | dict[str, Any] | None)] = None


class CallBody(RequestBody):
    id: str | None = None
    type: OnlyFunction = None
    function: CalledBody


class CalledFunction(TypedDict):
    """`arguments` is a JSON object as text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call as a chat's answer writes it."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerParts(NamedTuple):
    """An answer's text, calls and thoughts, without their order; None where it has none of them."""

    text: str | None
    calls: tuple[ParsedCall, ...]
    reasoning: str | None


def to_calls(values: list[Any], at: str) -> tuple[request.ToolCall, ...]:
    """Raises CallerError naming the field."""
    return tuple(_call(value, f"{at}[{i}]") for i, value in enumerate(values))


def to_call(id: str | None, name: str, arguments: Any, at: str) -> request.ToolCall:
    """Return an earlier call. A model may have written it, so a broken one costs no conversation.

    `at` is the path of the name and the arguments. Those that cannot be used are reported as ignored.
    """
    usable = re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "_"
    if usable != name:
        ignore(f"{at}.name")
    return request.ToolCall(id=id or "", name=usable, arguments=_object(arguments, f"{at}.arguments"))


def to_turn_call(job: str, choice: int, number: int, called: ParsedCall) -> request.ToolCall:
    """A call in the form in which a caller would send it back."""
    return to_call(call_id(job, choice, number), called.name, called.arguments, "previous_response_id")


def check_function(value: Any, at: str) -> None:
    """Raises CallerError `unsupported_parameter` for any type but `function`."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (None, "function"):
        raise unsupported_kind(render(["type"], at), kind)


def split_answer(text: str, syntax: str | None) -> AnswerParts:
    pieces = split(text, syntax)
    texts = [piece for piece in pieces if isinstance(piece, TextPiece)]
    words, thoughts = ([t.text for t in texts if t.is_thought == wanted] for wanted in (False, True))
    calls = tuple(piece for piece in pieces if isinstance(piece, ParsedCall))
    return AnswerParts("".join(words) if words else None, calls, "".join(thoughts) or None)


def finish_of(reason: FinishReason, calls: int) -> FinishWord:
    """OpenAI's `finish_reason` of an answer with so many calls."""
    return "tool_calls" if calls and reason == "stop" else reason


def call_id(job: str, choice: int, number: int) -> str:
    """A call's id, the same whenever the answer is read; `job` is the job's id, or an id made from it."""
    suffix = job.replace("-", "_").rpartition("_")[2]
    return f"call_{hashlib.sha256(f'{suffix} {choice} {number}'.encode()).hexdigest()[:24]}"


def to_tool_call(job: str, choice: int, number: int, called: ParsedCall) -> ToolCall:
    function: CalledFunction = {"name": called.name, "arguments": called.arguments}
    return {"id": call_id(job, choice, number), "type": "function", "function": function}


def to_tool_calls(job: str, choice: int, calls: tuple[ParsedCall, ...]) -> list[ToolCall]:
    return [to_tool_call(job, choice, number, called) for number, called in enumerate(calls)]


def _call(value: Any, at: str) -> request.ToolCall:
    check_function(value, at)
    body = read(CallBody, value, at)
    return to_call(body.id, body.function.name, body.function.arguments, f"{at}.function")


def _object(arguments: Any, at: str) -> str:
    """Return the arguments as canonical JSON, keys in their order: an empty object if they are none."""
    value = {} if arguments in (None, "") else arguments
    try:
        while isinstance(value, str):
            value = parse(value.encode())
    except (CallerError, UnicodeEncodeError):
        value = None
    if not isinstance(value, dict):
        ignore(at)
        value = {}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class TextPiece(NamedTuple):
    """The text up to the next call, or a part of it, or of a thought.

    `logprobs` are of the tokens that begin in it.
    """

    text: str
    logprobs: Logprobs
    is_thought: bool = False


Piece = TextPiece | ParsedCall


class ToolCallSplitter:
    """Splits an answer, as it comes, into text with its tokens' logprobs, thoughts and calls of functions.

    The result does not depend on how the answer was cut into pieces. Without a `syntax` it is all text.
    """

    def __init__(self, syntax: str | None) -> None:
        self._reader = None if syntax is None else Reader(syntax)
        self._at = 0
        # Tokens of the text that the reader holds back.
        self._pending: list[TokenLogprob] = []

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[Piece]:
        """Take in the next piece and the tokens that begin in it; returns what is certain by now."""
        if self._reader is None:
            return [TextPiece(text, logprobs)]
        pieces: list[Piece] = []
        for part, tokens in self._by_token(text, logprobs):
            self._pending += tokens
            if part:
                self._add(pieces, self._reader.feed(part))
        self._at += len(text)
        return pieces

    def close(self) -> list[Piece]:
        """The rest, now that no more will come."""
        pieces: list[Piece] = []
        self._add(pieces, [] if self._reader is None else self._reader.close())
        return pieces

    def _by_token(self, text: str, logprobs: Logprobs) -> Iterator[tuple[str, Logprobs]]:
        bounds = [min(max(token.start - self._at, 0), len(text)) for token in logprobs] + [len(text)]
        yield text[: bounds[0]], ()
        for token, (start, end) in zip(logprobs, pairwise(bounds), strict=True):
            yield text[start:end], (token,)

    def _add(self, pieces: list[Piece], parsed: list[AnswerPart]) -> None:
        for part in parsed:
            tokens, self._pending = tuple(self._pending), []
            if isinstance(part, ParsedCall):
                _append(pieces, part)
            elif isinstance(part, Thought):
                _append(pieces, TextPiece(part.text, tokens, is_thought=True))
            else:
                _append(pieces, TextPiece(part, tokens))


def split(text: str, syntax: str | None, logprobs: Logprobs = ()) -> list[Piece]:
    """Split a whole answer: at least one piece, and never two of text in a row."""
    splitter = ToolCallSplitter(syntax)
    pieces = splitter.feed(text, logprobs)
    for piece in splitter.close():
        _append(pieces, piece)
    return pieces or [TextPiece("", logprobs)]


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Text after text of its kind is joined."""
    before = pieces[-1] if pieces else None
    if (
        isinstance(piece, TextPiece)
        and isinstance(before, TextPiece)
        and piece.is_thought == before.is_thought
    ):
        text, logprobs = before.text + piece.text, before.logprobs + piece.logprobs
        pieces[-1] = TextPiece(text, logprobs, piece.is_thought)
    else:
        pieces.append(piece)
