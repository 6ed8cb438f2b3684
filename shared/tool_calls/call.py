"""A call as a model wrote it, and what every form of it has in common."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from shared.errors import CallerError
from shared.request import Message, Request
from shared.tool_calls.syntax import Known

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ParsedCall(NamedTuple):
    """`arguments` is a JSON object as text."""

    name: str
    arguments: str


class NoCallError(ValueError):
    """The text is no call in this form, whatever may follow."""


def called(value: Any, name: str, arguments: str) -> ParsedCall:
    """A call from an object with these two keys. Raises NoCallError."""
    if not isinstance(value, dict):
        raise NoCallError
    return new_call(value.get(name), value.get(arguments, {}))


def new_call(name: Any, arguments: Any) -> ParsedCall:
    """Raises NoCallError for what is no name or no object; some models write the object as a text."""
    if isinstance(arguments, str):
        arguments = parsed(arguments)
    if not isinstance(name, str) or not NAME.fullmatch(name) or not isinstance(arguments, dict):
        raise NoCallError
    return ParsedCall(name, _to_json(arguments))


def parsed(text: str) -> Any:
    """Raises NoCallError for what is no JSON."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise NoCallError from None


def closed(text: str, end: int, closing: str, *, last: bool) -> int | None:
    """Where the text goes on after a value's `end` and its closing mark; None where more must come.

    A model may end its answer without the mark. Raises NoCallError where anything else follows.
    """
    at = after_blanks(text, end)
    if text.startswith(closing, at):
        return at + len(closing)
    if closing.startswith(text[at:]):
        return len(text) if last else None
    raise NoCallError


def first(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value at a place, and its end; None where it is no whole one."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def after_blanks(text: str, at: int) -> int:
    """Where the next character is that is no blank."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _to_json(arguments: dict[str, Any]) -> str:
    """A half of a surrogate pair, which no JSON in UTF-8 can hold, is U+FFFD, as in any text."""
    text = json.dumps(arguments, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    """A number as a double; one beyond their range is the largest of them."""
    return max(-sys.float_info.max, min(sys.float_info.max, float(text)))


def _whole(text: str) -> float:
    """An integer, or a double where it is too long: Python parses no integer of thousands of digits."""
    return int(text) if len(text) <= sys.float_info.max_10_exp else _finite(text)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def numbers(messages: Sequence[Message]) -> list[tuple[int, ...]]:
    """Return for each message the numbers (0, 1, 2 …) of its calls, or of the call that it answers.

    Results answer the last calls in turn where ids are missing or equal. A result of no call has no number.
    """
    by_id: dict[str, int] = {}
    waiting: dict[str, list[int]] = {}
    places: list[tuple[int, ...]] = []
    count = 0
    for message in messages:
        if message.role == "tool":
            answered = _answered(message.answers or "", waiting, by_id)
            places.append(() if answered is None else (answered,))
            continue
        own = tuple(range(count, count + len(message.calls)))
        waiting = {} if own else waiting
        for call, number in zip(message.calls, own, strict=True):
            waiting.setdefault(call.id, []).append(number)
            by_id[call.id] = number
        count += len(own)
        places.append(own)
    return places


def _answered(id: str, waiting: dict[str, list[int]], by_id: dict[str, int]) -> int | None:
    call_id = next((name for name in ((id, "") if id else waiting) if name in waiting), None)
    if call_id is None:
        return by_id.get(id)
    first, *others = waiting.pop(call_id)
    if others:
        waiting[call_id] = others
    return first


# Whether a model's chat template has a place for the functions of a request.


def check_calls(request: Request, syntaxes: Known | None) -> None:
    """`syntaxes` is the form of the model's calls, "" where it takes no functions, None if not known yet.

    A function that must be called needs no place: the answer is held to the call's form, as to a format.
    Raises CallerError `unsupported_parameter`.
    """
    if syntaxes != "":
        return
    message = (
        f"The model {request.model} takes no functions: its chat template has no place for them, or writes "
        "calls in a form that is not known here. Leave them out, or ask another model."
    )
    if request.tools is not None and not request.tools.required:
        raise CallerError("unsupported_parameter", message, param="tools")
    if any(m.calls or m.role == "tool" for m in request.messages):
        at = request.named.get("messages", "messages")
        raise CallerError("unsupported_parameter", message, param=at)
