"""Converts a request's messages and functions into the form that chat templates take.

Content parts are built here from a closed set of keys and hold decoded media only, because a
processor would open any path and fetch any URL that it is given."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture

from shared.request import Function, Message, Request, Role, Text
from shared.tool_calls.numbering import numbers

Form = Literal["parts", "plain"]
"""Parts, or one plain text."""
Forms = dict[Role, Form]
Content: TypeAlias = "str | list[dict[str, Any]]"
Turn = dict[str, Any]
Shown: TypeAlias = "Picture | NDArray[np.float32] | NDArray[np.uint8]"
"""A picture, a sound's samples, or a video's frames."""
# JSON Schema's types; templates compare with them, so they are never replaced.
TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def text_part(text: str) -> dict[str, Any]:
    """Under both names by which templates look for it."""
    return {"type": "text", "text": text, "content": text}


def joined(content: Sequence[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in content)


class Chat(NamedTuple):
    """`tools` is None if the request has no functions. `trimmed` is that of Prompt."""

    turns: list[Turn]
    tools: list[dict[str, Any]] | None = None
    trimmed: str = ""


@dataclass(frozen=True)
class TurnWriter:
    """Writes callers' texts, escaped; if `harmless`, a stand-in for each, in the same structure."""

    escape: Callable[[str], str]
    forms: Forms
    harmless: bool = False

    def text(self, typed: str) -> str:
        if self.harmless and typed.strip() and typed not in TYPES:
            return "x"
        return self.escape(typed)

    def value(self, typed: Any) -> Any:
        if isinstance(typed, str):
            return self.text(typed)
        if isinstance(typed, list):
            return [self.value(item) for item in typed]
        if isinstance(typed, dict):
            return {self.escape(key): self.value(item) for key, item in typed.items()}
        return typed


def chat(request: Request, media: Sequence[Shown], writer: TurnWriter) -> Chat:
    """Return the turns and functions for a template. `media` are the request's, in reading order."""
    remaining = iter(media)
    names: list[str] = []
    turns = []
    for message, called in zip(request.messages, numbers(request.messages), strict=True):
        names += [call.name for call in message.calls]
        turns.append(_turn(message, called, names, remaining, writer))
    tools = [_tool(function, writer) for function in request.tools.functions] if request.tools else None
    return Chat(turns, tools)


def trimmed(message: Message, rendered: str) -> str:
    """The blanks at the end of the message to be continued, if the template dropped them."""
    last = next((part.text for part in reversed(message.parts) if isinstance(part, Text)), "")
    blanks = last[len(last.rstrip()) :]
    return "" if rendered.endswith(blanks) else blanks


def _turn(
    message: Message,
    called: tuple[int, ...],
    names: list[str],
    remaining: Iterator[Shown],
    writer: TurnWriter,
) -> Turn:
    content = list(_content(message, remaining, writer))
    if message.role == "tool":
        number, name = (called[0], names[called[0]]) if called else (99_999, "unknown")
        fields = {"tool_call_id": _id(number), "name": name}
        return {"role": "tool", **fields, "content": _plain(content)}
    plain = writer.forms[message.role] == "plain"
    turn: Turn = {"role": message.role, "content": _plain(content) if plain else content}
    if message.calls:
        turn["tool_calls"] = [
            {
                "type": "function",
                "id": _id(number),
                "function": {"name": call.name, "arguments": writer.value(json.loads(call.arguments))},
            }
            for number, call in zip(called, message.calls, strict=True)
        ]
    return turn


def _content(message: Message, remaining: Iterator[Shown], writer: TurnWriter) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if isinstance(part, Text):
            yield text_part(writer.text(part.text))
        else:
            yield {"type": part.type, part.type: next(remaining)}


def _plain(content: list[dict[str, Any]]) -> Content:
    """A content without media as one text, because not every template looks for parts."""
    return joined(content) if all(part["type"] == "text" for part in content) else content


def _tool(function: Function, writer: TurnWriter) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        fields["description"] = writer.text(function.description)
    fields["parameters"] = writer.value(json.loads(function.parameters))
    return {"type": "function", "function": fields}


def _id(number: int) -> str:
    """Nine letters or digits: some templates take nothing else."""
    return f"call{number:05}"
