"""Gemma's form: `<|tool_call>call:name{key:value,…}<tool_call|>`, with marks of its own around texts."""

import re
from typing import Any

from shared.tool_calls.brackets import Brackets
from shared.tool_calls.call import NoCallError, after_blanks, closed, first, new_call
from shared.tool_calls.syntax import CallParser, Form, Whole

QUOTE = '<|"|>'
_NAME = re.compile(r"\s*call:([\w-]+)\s*\{")
_BARE = re.compile(r"[^,:{}\[\]]*")
_KEY = re.compile(r"[^:{}\[\],]+")
DEEPEST = 64
LONGEST_HEAD = 100
"""Characters that `call:`, a name and blanks take up."""


class Gemma(Form):
    """Keys are bare, texts are quoted by a mark, and all else is as in JSON."""

    opening = "<|tool_call>"
    closing = "<tool_call|>"

    def parser(self) -> CallParser:
        return _Named(self)


class _Named(CallParser):
    def __init__(self, form: Gemma) -> None:
        self._form = form
        self._name: str | None = None
        self._begin = 0
        self._brackets = Brackets(0)

    def read(self, text: str, *, last: bool) -> Whole | None:
        if self._name is None and not self._named(text):
            return None
        end = self._brackets.end(text)
        behind = None if end is None else closed(text, end, self._form.closing, last=last)
        if end is None or behind is None:
            return None
        arguments, _ = _value(text[:end], self._begin, 0)
        return [new_call(self._name, arguments)], behind

    def _named(self, text: str) -> bool:
        match = _NAME.match(text, len(self._form.opening))
        if match is None:
            if len(text) > len(self._form.opening) + LONGEST_HEAD:
                raise NoCallError
            return False
        self._name, self._begin = match[1], match.end() - 1
        self._brackets = Brackets(self._begin, QUOTE)
        return True


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """The value at a place, and its end. Raises NoCallError."""
    if depth > DEEPEST:
        raise NoCallError
    at = after_blanks(text, at)
    if text.startswith(QUOTE, at):
        return _text(text, at)
    if text.startswith("{", at):
        return _object(text, at + 1, depth)
    if text.startswith("[", at):
        return _list(text, at + 1, depth)
    if (mark := first(text, at)) is not None:
        return mark
    bare = _BARE.match(text, at)
    if bare is None or not bare[0].strip():
        raise NoCallError
    # A text whose marks the model left out.
    return bare[0].strip(), bare.end()


def _text(text: str, at: int) -> tuple[str, int]:
    begin = at + len(QUOTE)
    end = text.find(QUOTE, begin)
    if end < 0:
        raise NoCallError
    return text[begin:end], end + len(QUOTE)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    while (at := after_blanks(text, at)) < len(text):
        if text[at] == "}":
            return members, at + 1
        key, at = _key(text, at)
        members[key], at = _value(text, at, depth + 1)
        at = _next(text, at, "}")
    raise NoCallError


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    while (at := after_blanks(text, at)) < len(text):
        if text[at] == "]":
            return items, at + 1
        value, at = _value(text, at, depth + 1)
        items.append(value)
        at = _next(text, at, "]")
    raise NoCallError


def _key(text: str, at: int) -> tuple[str, int]:
    """A key and where its value begins."""
    if text.startswith(QUOTE, at):
        key, at = _text(text, at)
    else:
        bare = _KEY.match(text, at)
        if bare is None:
            raise NoCallError
        key, at = bare[0].strip().strip('"'), bare.end()
    if not text.startswith(":", at):
        raise NoCallError
    return key, at + 1


def _next(text: str, at: int, end: str) -> int:
    """The place behind a comma, or of the sign that ends the list or object."""
    at = after_blanks(text, at)
    if text.startswith(",", at):
        return at + 1
    if not text.startswith(end, at):
        raise NoCallError
    return at
