"""Turns a `oneOf` of literals into an `anyOf`, because llguidance tells only strings and booleans apart."""

import json
from itertools import chain
from typing import Any


def translate(schema: dict[str, Any]) -> None:
    """If no value is in two branches, `anyOf` means the same; other keywords of a branch only narrow it."""
    said = schema.get("oneOf")
    if "anyOf" in schema or not isinstance(said, list) or not all(map(_literal, said)):
        return
    values = [{same(value) for value in _values(branch)} for branch in said]
    if sum(map(len, values)) == len({*chain.from_iterable(values)}):
        schema["anyOf"] = schema.pop("oneOf")


def _literal(branch: Any) -> bool:
    """Not beside a reference, which overrules its neighbours in older drafts."""
    return isinstance(branch, dict) and "$ref" not in branch and bool(_values(branch))


def _values(branch: dict[str, Any]) -> list[Any]:
    if "const" in branch:
        return [branch["const"]]
    values = branch.get("enum")
    return values if isinstance(values, list) else []


def same(value: Any) -> str:
    """A text that is equal for values that JSON Schema holds equal: 1 equals 1.0, but not true."""
    numbers = json.loads(json.dumps(value), parse_int=_number, parse_float=_number)
    return json.dumps(numbers, sort_keys=True)


def _number(text: str) -> float:
    return float(text) + 0.0  # -0.0 is 0.0.
