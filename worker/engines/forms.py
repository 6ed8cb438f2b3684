"""Finds out at load, with a made-up text, in what form a chat template takes the texts of each role."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from jinja2 import TemplateError

from shared.request import Role

log = logging.getLogger(__name__)
Form = Literal["parts", "named", "plain"]
"""Parts; parts with their text also under `content`, where Pixtral's template looks; one plain text."""
Forms = dict[Role, Form]
Content: TypeAlias = "str | list[dict[str, Any]]"
Write = Callable[[list[dict[str, Any]]], str]
"""Renders turns with a template. May raise TemplateError, ValueError and STUMBLES."""
# What a template raises on a message, a variable or JSON of another form than it expects.
STUMBLES = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError)
ORDER: tuple[Form, ...] = ("parts", "named", "plain")
MARK = "sightlinemark"


def text_part(text: str, form: Form) -> dict[str, Any]:
    part = {"type": "text", "text": text}
    return part | {"content": text} if form == "named" else part


def joined(content: Sequence[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in content)


def forms_of(write: Write) -> Forms:
    """The form by role; empty if a user's parts are not rendered, as no pictures or sounds could be sent."""
    user = _form(write, lambda content: [_turn("user", content)])
    if user not in ("parts", "named"):
        log.warning("the model's chat template writes no parts of a user's turn, so chats are refused")
        return {}
    asked = _turn("user", [text_part("x", user)])
    system = _form(write, lambda content: [_turn("system", content), asked])
    assistant = _form(write, lambda content: [asked, _turn("assistant", content), asked])
    return {"system": system or "parts", "user": user, "assistant": assistant or "parts", "tool": user}


def _form(write: Write, turns: Callable[[Content], list[dict[str, Any]]]) -> Form | None:
    """The first form that is rendered; None if none is. If a template refuses them, callers read why."""
    refused = False
    for form in ORDER:
        part = text_part(MARK, form)
        try:
            text = write(turns(joined([part]) if form == "plain" else [part]))
        except (TemplateError, ValueError):
            refused = True
            continue
        except STUMBLES:
            continue
        # A template for plain texts can write the list, as Python or as JSON does.
        if MARK in text.lower() and str(part) not in text and json.dumps(part) not in text:
            return form
    return "parts" if refused else None


def _turn(role: Role, content: Content) -> dict[str, Any]:
    return {"role": role, "content": content}
