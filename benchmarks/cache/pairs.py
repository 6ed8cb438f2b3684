"""Pairs of requests that are the same computation in other words, or differ in exactly one field."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from benchmarks.cache.requests import MODELS, PARAMETERS, draw_request, part, rewrite, schema, text, tools
from shared.request import LOOK, Parameters, Request

T = TypeVar("T")
SAME = "nothing"
ROLES = ("system", "user", "assistant")
Body = dict[str, Any]
Edit = Callable[[random.Random, Body], bool]
"""Changes a request's JSON, or a part of it, in place; False where it has no such field."""


@dataclass(frozen=True)
class CallersRequest:
    """A request as one caller asks it of one revision of its model."""

    request: Request
    caller: str = "caller-1"
    revision: str = "main"


@dataclass(frozen=True)
class Pair:
    """`field` is that in which they differ, `nothing` where they are the same."""

    field: str
    one: CallersRequest
    other: CallersRequest


Change = Callable[[random.Random, CallersRequest], CallersRequest | None]
"""None where the request has no such field."""


def pairs(count: int, seed: int) -> Iterator[Pair]:
    """One in two differs in nothing; the others take every field in turn."""
    dice = random.Random(seed)  # noqa: S311
    fields = list(CHANGES)
    for number in range(count):
        if number % 2:
            yield differing(dice, fields[number // 2 % len(fields)])
        else:
            one = CallersRequest(draw_request(dice))
            yield Pair(SAME, one, replace(one, request=rewrite(dice, one.request)))


def differing(dice: random.Random, field: str) -> Pair:
    """In that field; requests are drawn until one has it."""
    while True:
        one = CallersRequest(draw_request(dice))
        other = CHANGES[field](dice, one)
        if other is not None:
            return Pair(field, one, other)


def _other(dice: random.Random, draw: Callable[[random.Random], T], old: T) -> T:
    while (new := draw(dice)) == old:
        pass
    return new


def _in_request(edit: Edit) -> Change:
    """Validated: what is left is a request that the service takes."""

    def change(dice: random.Random, one: CallersRequest) -> CallersRequest | None:
        body = one.request.model_dump(mode="json")
        return replace(one, request=Request.model_validate(body)) if edit(dice, body) else None

    return change


def _in_message(edit: Edit) -> Change:
    """A change of one message that has the field."""

    def edit_one(dice: random.Random, body: Body) -> bool:
        messages = body["messages"]
        return any(edit(dice, message) for message in dice.sample(messages, len(messages)))

    return _in_request(edit_one)


def _in_part(kinds: Sequence[str], edit: Edit) -> Change:
    def edit_one(dice: random.Random, message: Body) -> bool:
        parts = [one for one in message["parts"] if one["type"] in kinds]
        return bool(parts) and edit(dice, dice.choice(parts))

    return _in_message(edit_one)


def _in_call(name: str) -> Change:
    def edit(dice: random.Random, message: Body) -> bool:
        calls = message.get("calls", [])
        return bool(calls) and _drawn(name, text)(dice, calls[0])

    return _in_message(edit)


def _in_tools(name: str, draw: Callable[[random.Random], Any]) -> Change:
    return _in_request(lambda dice, body: bool(body["tools"]) and _drawn(name, draw)(dice, body["tools"]))


def _in_function(name: str, draw: Callable[[random.Random], Any]) -> Change:
    edit = _drawn(name, draw)
    return _in_request(lambda dice, body: bool(body["tools"]) and edit(dice, body["tools"]["functions"][0]))


def _drawn(name: str, draw: Callable[[random.Random], Any]) -> Edit:
    def edit(dice: random.Random, node: Body) -> bool:
        node[name] = _other(dice, draw, node.get(name))
        return True

    return edit


def _parameter(name: str) -> Change:
    def canonical(value: Any) -> Any:
        """As the request holds it: lists of stops are sets."""
        value = Parameters(**{name: value}).model_dump(mode="json").get(name)
        return sorted(set(value)) if name == "stop" and value else value

    def draw(dice: random.Random) -> Any:
        default = Parameters.model_fields[name].default
        return canonical(PARAMETERS[name](dice) if dice.random() < 0.8 else default)

    def edit(dice: random.Random, body: Body) -> bool:
        parts = (part for message in body["messages"] for part in message["parts"])
        if name in LOOK and not any(part["type"] == "image" for part in parts):
            return False
        old = body["parameters"].get(name, Parameters.model_fields[name].default)
        body["parameters"][name] = _other(dice, draw, canonical(old))
        return True

    return _in_request(edit)


def _role(dice: random.Random, message: Body) -> bool:
    if message.get("calls") or message["answers"]:
        return False
    return _drawn("role", lambda dice: dice.choice(ROLES))(dice, message)


def _one_character(dice: random.Random, node: Body) -> bool:
    """More, less or other: also blanks, case, and what looks alike."""

    def draw(dice: random.Random) -> str:
        old, at = node["text"], dice.randrange(len(node["text"]))
        new = dice.choice((" ", "\u200b", "a", old[at].swapcase(), ""))
        return str(old[:at] + new + old[at + dice.randint(0, 1) :])

    return _drawn("text", draw)(dice, node)


def _one_digit(dice: random.Random, node: Body) -> bool:
    digest = node["digest"]
    at = dice.randrange(len(digest))
    digit = _other(dice, lambda dice: dice.choice("0123456789abcdef"), digest[at])
    node["digest"] = digest[:at] + digit + digest[at + 1 :]
    return True


def _order(dice: random.Random, message: Body) -> bool:
    old = list(message["parts"])
    if all(one == old[0] for one in old):
        return False
    while message["parts"] == old:
        dice.shuffle(message["parts"])
    return True


def _one_more(dice: random.Random, message: Body) -> bool:
    if message["answers"]:
        return False
    message["parts"].append(part(dice).model_dump(mode="json"))
    return True


def _swapped_answers(_: random.Random, body: Body) -> bool:
    """Two tools' turns answer each other's call."""
    turns = [message for message in body["messages"] if message["answers"]]
    if len(turns) < 2:
        return False
    turns[0]["answers"], turns[1]["answers"] = turns[1]["answers"], turns[0]["answers"]
    return True


def _tools(dice: random.Random, body: Body) -> bool:
    body["tools"] = None if body["tools"] else tools(dice).model_dump(mode="json")
    return True


def _flag(name: str) -> Change:
    return _in_request(_drawn(name, lambda dice: dice.random() < 0.5))


MEDIA = ("image", "audio")
CHANGES: dict[str, Change] = {
    "caller": lambda _, one: replace(one, caller="caller-2"),
    "revision": lambda _, one: replace(one, revision="main2"),
    "model": _in_request(_drawn("model", lambda dice: dice.choice(MODELS))),
    "continue_final": _flag("continue_final"),
    "messages.role": _in_message(_role),
    "messages.parts.text": _in_part(("text",), _one_character),
    "messages.parts.digest": _in_part(MEDIA, _one_digit),
    "messages.parts.type": _in_part(MEDIA, _drawn("type", lambda dice: dice.choice(MEDIA))),
    "messages.parts order": _in_message(_order),
    "messages.parts one more": _in_message(_one_more),
    "messages.calls.name": _in_call("name"),
    "messages.calls.arguments": _in_call("arguments"),
    "messages.answers": _in_request(_swapped_answers),
    "tools": _in_request(_tools),
    "tools.required": _in_tools("required", lambda dice: dice.random() < 0.5),
    "tools.parallel": _in_tools("parallel", lambda dice: dice.random() < 0.5),
    "tools.named": _in_tools("named", lambda dice: dice.choice((None, "f0", "f1"))),
    "tools.functions.name": _in_function("name", text),
    "tools.functions.description": _in_function("description", text),
    "tools.functions.parameters": _in_function("parameters", schema),
    "tools.functions.strict_schema": _in_function(
        "strict_schema", lambda dice: dice.choice((None, schema(dice)))
    ),
    **{f"parameters.{name}": _parameter(name) for name in PARAMETERS},
}
"""How a pair gets its difference, by the field; a test compares the names with the request's own."""
