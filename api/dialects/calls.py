"""Calls of functions on the wire: as callers send them back, and as answers write them."""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from api.dialects.strict_json import Replayed, invalid, parse, read, render, unsupported_kind
from shared.errors import CallerError
from shared.request import ToolCall
from shared.result import FinishReason, Logprobs, TokenLogprob
from shared.tool_calls.call import NAME, Called
from shared.tool_calls.parser import Reader, Said
from shared.tool_calls.syntax import Syntax

# Splits an answer, as it comes, into words with their tokens' logprobs and calls of functions.


class Words(NamedTuple):
    """Words up to the next call, or a piece of them. `logprobs` are of the tokens that begin in them."""

    text: str
    logprobs: Logprobs


Heard = Words | Called


class Apart:
    """Splits one answer. The result does not depend on how the answer was cut into pieces.

    `syntax` is the form in which the model writes calls; without one the answer is all words.
    """

    def __init__(self, syntax: Syntax | None) -> None:
        self._reader = None if syntax is None else Reader(syntax)
        self._at = 0
        # Tokens of the text that the reader holds back.
        self._held: list[TokenLogprob] = []

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[Heard]:
        """Take in the next piece and the tokens that begin in it; returns what is certain by now."""
        if self._reader is None:
            return [Words(text, logprobs)]
        heard: list[Heard] = []
        for piece, tokens in self._by_token(text, logprobs):
            self._held += tokens
            if piece:
                self._hear(heard, self._reader.feed(piece))
        self._at += len(text)
        return heard

    def close(self) -> list[Heard]:
        """The rest, now that no more will come."""
        heard: list[Heard] = []
        self._hear(heard, [] if self._reader is None else self._reader.close())
        return heard

    def _by_token(self, text: str, logprobs: Logprobs) -> Iterator[tuple[str, Logprobs]]:
        bounds = [min(max(token.start - self._at, 0), len(text)) for token in logprobs] + [len(text)]
        yield text[: bounds[0]], ()
        for token, (start, end) in zip(logprobs, pairwise(bounds), strict=True):
            yield text[start:end], (token,)

    def _hear(self, heard: list[Heard], said: list[Said]) -> None:
        for piece in said:
            tokens, self._held = tuple(self._held), []
            _add(heard, piece if isinstance(piece, Called) else Words(piece, tokens))


def apart(text: str, syntax: Syntax | None, logprobs: Logprobs = ()) -> list[Heard]:
    """Split a whole answer: at least one item, and never two of words in a row."""
    reading = Apart(syntax)
    heard = reading.feed(text, logprobs)
    for piece in reading.close():
        _add(heard, piece)
    return heard or [Words(text, logprobs)]


def _add(heard: list[Heard], piece: Heard) -> None:
    """Append a piece; words after words are joined."""
    if heard and isinstance(before := heard[-1], Words) and isinstance(piece, Words):
        heard[-1] = Words(before.text + piece.text, before.logprobs + piece.logprobs)
    else:
        heard.append(piece)


MOST_ID = 256
TOLD = dict[str, Any]


class CalledBody(Replayed):
    """`description` is a field of Hugging Face's type, `parsed_arguments` one of OpenAI's helpers.

    `provider_specific_fields` are LiteLLM's, of what it does not know.
    """

    name: str
    arguments: str | dict[str, Any]
    description: str | None = None
    parsed_arguments: Any = None
    provider_specific_fields: Any = None


class CallBody(Replayed):
    id: str
    type: str | None = None
    index: int | None = None
    provider_specific_fields: Any = None
    function: CalledBody


class Told(NamedTuple):
    """An answer's words and calls, without their order. `words` are None where it is all calls."""

    words: str | None
    calls: tuple[Called, ...]


def to_calls(values: list[Any], at: str) -> tuple[ToolCall, ...]:
    """Raises CallerError naming the field."""
    return tuple(_call(value, f"{at}[{i}]") for i, value in enumerate(values))


def to_call(id: str, name: str, arguments: str | dict[str, Any], at: str) -> ToolCall:
    """`at` is where the name and the arguments stand. Raises CallerError."""
    if not NAME.fullmatch(name):
        raise invalid(f"{at}.name", "should be 1 to 64 letters, digits, `_` and `-`")
    return ToolCall(id=id, name=name, arguments=_object(arguments, f"{at}.arguments"))


def to_turn_call(job: str, choice: int, number: int, called: Called) -> ToolCall:
    """A call in the form in which a caller would send it back."""
    return to_call(call_id(job, choice, number), called.name, called.arguments, "previous_response_id")


def check_function(value: Any, at: str) -> None:
    """Raises CallerError `unsupported_parameter` for any type but `function`."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (None, "function"):
        raise unsupported_kind(render(["type"], at), kind)


def check_id(id: str | None, at: str) -> str:
    """Raises CallerError."""
    if not id or len(id) > MOST_ID:
        raise invalid(at, f"should be the id of a call, of 1 to {MOST_ID} characters")
    return id


def told(text: str, syntax: Syntax | None) -> Told:
    """An answer's words and calls."""
    heard = apart(text, syntax)
    words = [piece.text for piece in heard if isinstance(piece, Words)]
    calls = tuple(piece for piece in heard if isinstance(piece, Called))
    return Told("".join(words) if words else None, calls)


def finish_of(reason: FinishReason, calls: int) -> str:
    """OpenAI's `finish_reason` of an answer with so many calls."""
    return "tool_calls" if calls and reason == "stop" else reason


def call_id(job: str, choice: int, number: int) -> str:
    """A call's id, the same whenever the answer is read; `job` is the job's id, or an id made from it."""
    own = job.replace("-", "_").rpartition("_")[2]
    return f"call_{hashlib.sha256(f'{own} {choice} {number}'.encode()).hexdigest()[:24]}"


def to_tool_call(job: str, choice: int, number: int, called: Called) -> TOLD:
    """A call as a chat writes it."""
    function = {"name": called.name, "arguments": called.arguments}
    return {"id": call_id(job, choice, number), "type": "function", "function": function}


def to_tool_calls(job: str, choice: int, calls: tuple[Called, ...]) -> list[TOLD]:
    return [to_tool_call(job, choice, number, called) for number, called in enumerate(calls)]


def _call(value: Any, at: str) -> ToolCall:
    check_function(value, at)
    body = read(CallBody, value, at)
    id = check_id(body.id, f"{at}.id")
    return to_call(id, body.function.name, body.function.arguments, f"{at}.function")


def _object(arguments: str | dict[str, Any], at: str) -> str:
    """The arguments as canonical JSON, keys in their order; an empty text is an empty object."""
    try:
        value = parse(arguments.encode()) if isinstance(arguments, str) and arguments else arguments or {}
    except (CallerError, UnicodeEncodeError):
        value = None
    if not isinstance(value, dict):
        raise invalid(at, "should be a JSON object as text")
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
