"""Pairs of requests that are the same computation in other words, or differ in exactly one field."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from benchmarks.cache.requests import PARAMETERS, draw_request, part, rewrite
from shared.request import LOOK, Parameters, Request

SAME = "nothing"
OWN = ("caller", "revision")
"""What belongs to the cached answer beside the request itself."""
UNSEEN = ("messages.calls.id", "messages.parts.url")
"""What no model sees: the ids of calls, and where a picture came from."""
PARTS = "messages.parts"
Body = dict[str, Any]


@dataclass(frozen=True)
class CallersRequest:
    """A request as one caller asks it of one revision of its model."""

    request: Request
    caller: str = "caller-1"
    revision: str = "main"


@dataclass(frozen=True)
class Pair:
    """`field` is that in which they differ, or SAME."""

    field: str
    one: CallersRequest
    other: CallersRequest


def pairs(count: int, seed: int) -> Iterator[Pair]:
    """One in two differs in nothing; the others take every field in turn."""
    dice = random.Random(seed)  # noqa: S311
    for number in range(count):
        if number % 2:
            yield differing(dice, FIELDS[number // 2 % len(FIELDS)])
        else:
            one = CallersRequest(draw_request(dice))
            yield Pair(SAME, one, replace(one, request=rewrite(dice, one.request)))


def differing(dice: random.Random, field: str) -> Pair:
    """Return a pair that differs in that field; requests are drawn until one has it."""
    while True:
        one = CallersRequest(draw_request(dice))
        if field == "caller":
            return Pair(field, one, replace(one, caller="caller-2"))
        if field == "revision":
            return Pair(field, one, replace(one, revision="main2"))
        body = one.request.model_dump(mode="json")
        holders = [(node, key) for name, node, key in places(body) if name == field]
        if not holders or not _matters(field, body):
            continue
        node, key = dice.choice(holders)
        with suppress(ValidationError, LookupError):
            node[key] = _changed(dice, field, node, body)
            other = Request.model_validate(body)
            if _comparable(other) != _comparable(one.request):
                return Pair(field, one, replace(one, request=other))


def places(node: Body, prefix: str = "") -> Iterator[tuple[str, Body, str]]:
    """Yield each field of a request's JSON: its name, and the object and the key that hold it."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        inner = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
        nested = inner and prefix != "parameters."
        if not nested or name in ("tools", PARTS):
            yield name, node, key
        for one in inner if nested else ():
            yield from places(one, f"{name}.")


def _changed(dice: random.Random, field: str, node: Body, body: Body) -> Any:
    """Return another value of the field. Raises LookupError if this request has none."""
    key = field.rpartition(".")[2]
    old = node[key]
    if field.startswith("parameters."):
        return dice.choice(PARAMETERS[key]) if dice.random() < 0.8 else Parameters.model_fields[key].default
    if field == PARTS:
        new = part(dice).model_dump(mode="json")
        return dice.choice((dice.sample(old, len(old)), [*old, new], old[1:]))
    if field == "messages.answers":
        twins = [turn for turn in body["messages"] if old and turn["answers"] not in (None, old)]
        twin = dice.choice(twins)
        twin["answers"], new = old, twin["answers"]
        return new
    if field == "messages.parts.type":
        return {"image": "audio", "audio": "image"}[old]
    if isinstance(old, str) and key != "role" and dice.random() < 0.5:
        return _one_character(dice, old)
    donors = places(draw_request(dice).model_dump(mode="json"))
    return dice.choice([donor[key] for name, donor, _ in donors if name == field])


def _one_character(dice: random.Random, old: str) -> str:
    """Add, drop or replace one: also blanks, case, and what looks alike."""
    at = dice.randrange(len(old))
    new = dice.choice((" ", "\u200b", "a", old[at].swapcase(), ""))
    return old[:at] + new + old[at + dice.randint(0, 1) :]


def _matters(field: str, body: Body) -> bool:
    """Return False for a size of pictures in a request without any, which changes no answer."""
    kinds = {one["type"] for message in body["messages"] for one in message["parts"]}
    return field.removeprefix("parameters.") not in LOOK or "image" in kinds


def _comparable(request: Request) -> Any:
    """Stops are a set."""
    return request.model_dump(exclude={"parameters": {"stop"}}), set(request.parameters.stop)


def _fields() -> list[str]:
    dice = random.Random(0)  # noqa: S311
    drawn = (draw_request(dice).model_dump(mode="json") for _ in range(200))
    return [*OWN, *sorted({name for body in drawn for name, *_ in places(body)}.difference(UNSEEN))]


FIELDS = _fields()
"""All that may differ; a test compares the names with the request's own."""
