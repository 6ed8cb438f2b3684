"""How a request gets to differ in exactly one field."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from benchmarks.cache import questions
from shared.request import Function, Image, Message, Parameters, Request, Role, Sound, Text, ToolCall

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Asked:
    """A request as one caller asks it of one revision of its model."""

    request: Request
    caller: str = "caller-1"
    revision: str = "main"


Change = Callable[[random.Random, Asked], Asked | None]
"""None where the request has no such field to change."""


def _of_request(change: Callable[[random.Random, Request], Request | None]) -> Change:
    def changed(dice: random.Random, asked: Asked) -> Asked | None:
        request = change(dice, asked.request)
        return None if request is None else replace(asked, request=request)

    return changed


def _with(model: M, /, **fields: Any) -> M:
    """Validated, unlike `model_copy` alone: what is left is a request that the service takes."""
    return type(model).model_validate(model.model_copy(update=fields).__dict__)


def _other(dice: random.Random, draw: Callable[[random.Random], T], old: T) -> T:
    while (new := draw(dice)) == old:
        pass
    return new


def _parameter(name: str) -> Change:
    def change(dice: random.Random, request: Request) -> Request:
        given = request.parameters
        left_out = Parameters.model_fields[name].default

        def draw(dice: random.Random) -> Any:
            value = questions.PARAMETERS[name](dice) if dice.random() < 0.8 else left_out
            # As the request holds it: lists of stops are sets.
            kept = getattr(Parameters(**{name: value}), name)
            return tuple(sorted(set(kept))) if name == "stop" else kept

        old = getattr(given, name)
        old = tuple(sorted(set(old))) if name == "stop" else old
        return _with(request, parameters=given.model_copy(update={name: _other(dice, draw, old)}))

    return _of_request(change)


def _at(messages: Sequence[Message], at: int, message: Message) -> tuple[Message, ...]:
    return (*messages[:at], message, *messages[at + 1 :])


def _message(change: Callable[[random.Random, Message], Message | None]) -> Change:
    """A change of one message that has the field."""

    def changed(dice: random.Random, request: Request) -> Request | None:
        for at in dice.sample(range(len(request.messages)), len(request.messages)):
            message = change(dice, request.messages[at])
            if message is not None:
                return _with(request, messages=_at(request.messages, at, message))
        return None

    return _of_request(changed)


def _role(dice: random.Random, message: Message) -> Message | None:
    if message.calls or message.answers:
        return None
    return _with(message, role=_other(dice, lambda dice: dice.choice(ROLES), message.role))


def _text(dice: random.Random, message: Message) -> Message | None:
    places = [at for at, part in enumerate(message.parts) if isinstance(part, Text)]
    if not places:
        return None
    at = dice.choice(places)
    old = message.parts[at]
    assert isinstance(old, Text)  # noqa: S101 - for the type checker
    new = _other(dice, lambda dice: _edited(dice, old.text), old.text)
    return _with(message, parts=(*message.parts[:at], Text(text=new), *message.parts[at + 1 :]))


def _edited(dice: random.Random, text: str) -> str:
    """One character more, less or other: also blanks, case, and what looks alike."""
    at = dice.randrange(len(text))
    new = dice.choice((" ", "\u200b", "a", text[at].swapcase(), ""))
    return text[:at] + new + text[at + dice.randint(0, 1) :]


def _medium(change: Callable[[random.Random, Image | Sound], Image | Sound]) -> Change:
    def changed(dice: random.Random, message: Message) -> Message | None:
        places = [at for at, part in enumerate(message.parts) if not isinstance(part, Text)]
        if not places:
            return None
        at = dice.choice(places)
        old = message.parts[at]
        assert not isinstance(old, Text)  # noqa: S101 - for the type checker
        return _with(message, parts=(*message.parts[:at], change(dice, old), *message.parts[at + 1 :]))

    return _message(changed)


def _digest(dice: random.Random, part: Image | Sound) -> Image | Sound:
    """Changes one digit of the digest."""
    digest = part.digest or ""
    at = dice.randrange(len(digest))
    digit = _other(dice, lambda dice: dice.choice("0123456789abcdef"), digest[at])
    return part.model_copy(update={"digest": digest[:at] + digit + digest[at + 1 :]})


def _other_kind(_: random.Random, part: Image | Sound) -> Image | Sound:
    return Sound(digest=part.digest) if isinstance(part, Image) else Image(digest=part.digest)


def _order(dice: random.Random, message: Message) -> Message | None:
    if len(set(message.parts)) < 2:
        return None
    parts = list(message.parts)
    while tuple(parts) == message.parts:
        dice.shuffle(parts)
    return _with(message, parts=tuple(parts))


def _one_more(dice: random.Random, message: Message) -> Message | None:
    return None if message.answers else _with(message, parts=(*message.parts, questions.part(dice)))


def _call(name: str) -> Change:
    def change(dice: random.Random, message: Message) -> Message | None:
        if not message.calls:
            return None
        first: ToolCall = message.calls[0]
        new = _other(dice, questions.text, getattr(first, name))
        return _with(message, calls=(first.model_copy(update={name: new}), *message.calls[1:]))

    return _message(change)


def _answers(_: random.Random, request: Request) -> Request | None:
    """Two tools' turns answer each other's call."""
    told = [at for at, message in enumerate(request.messages) if message.answers]
    if len(told) < 2:
        return None
    one, two = (request.messages[at] for at in told[:2])
    messages = _at(request.messages, told[0], _with(one, answers=two.answers))
    return _with(request, messages=_at(messages, told[1], _with(two, answers=one.answers)))


def _tools(name: str, draw: Callable[[random.Random], Any]) -> Change:
    def change(dice: random.Random, request: Request) -> Request | None:
        if request.tools is None:
            return None
        old = getattr(request.tools, name)
        return _with(request, tools=request.tools.model_copy(update={name: _other(dice, draw, old)}))

    return _of_request(change)


def _function(name: str, draw: Callable[[random.Random], Any]) -> Change:
    def change(dice: random.Random, request: Request) -> Request | None:
        if request.tools is None:
            return None
        first: Function = request.tools.functions[0]
        new = first.model_copy(update={name: _other(dice, draw, getattr(first, name))})
        functions = (new, *request.tools.functions[1:])
        return _with(request, tools=request.tools.model_copy(update={"functions": functions}))

    return _of_request(change)


def _any_tools(dice: random.Random, request: Request) -> Request:
    return _with(request, tools=None if request.tools else questions.tools(dice))


def _flag(name: str) -> Change:
    return _of_request(lambda _, request: _with(request, **{name: not getattr(request, name)}))


CHANGES: dict[str, Change] = {
    "caller": lambda _, asked: replace(asked, caller="caller-2"),
    "revision": lambda _, asked: replace(asked, revision="main2"),
    "model": _of_request(
        lambda _, request: _with(
            request, model={"org/model": "org/other", "org/other": "org/model"}[request.model]
        )
    ),
    "continue_final": _flag("continue_final"),
    "raw": _flag("raw"),
    "messages.role": _message(_role),
    "messages.parts.text": _message(_text),
    "messages.parts.digest": _medium(_digest),
    "messages.parts.type": _medium(_other_kind),
    "messages.parts order": _message(_order),
    "messages.parts one more": _message(_one_more),
    "messages.calls.name": _call("name"),
    "messages.calls.arguments": _call("arguments"),
    "messages.answers": _of_request(_answers),
    "tools": _of_request(_any_tools),
    "tools.required": _tools("required", lambda dice: dice.random() < 0.5),
    "tools.parallel": _tools("parallel", lambda dice: dice.random() < 0.5),
    "tools.named": _tools("named", lambda dice: dice.choice((None, "f0", "f1"))),
    "tools.functions.name": _function("name", questions.text),
    "tools.functions.description": _function("description", questions.text),
    "tools.functions.parameters": _function("parameters", questions.schema),
    "tools.functions.held": _function("held", lambda dice: dice.choice((None, questions.schema(dice)))),
    **{f"parameters.{name}": _parameter(name) for name in questions.PARAMETERS},
}
"""How a pair gets its difference, by the field; a test compares the names with the request's own."""
