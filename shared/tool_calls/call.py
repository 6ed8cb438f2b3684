"""A call as a model wrote it, and what every form of it has in common."""

import json
import re
import sys
from typing import Any, NamedTuple, NoReturn

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
