"""Translates a caller's JSON Schema into keywords that llguidance enforces."""

import json
from collections.abc import Iterator
from typing import Any

from worker.engines.grammar import bounds, branches, ecma, literals, moments, multiples

NAMING = ("properties", "patternProperties", "$defs", "definitions")
LITERAL = ("const", "enum")
# Translations that change names which a reference's path may contain, by that part of the path.
RENAMES = {"oneOf": branches.translate, "patternProperties": ecma.rename}


def translated(schema: dict[str, Any]) -> dict[str, Any]:
    """A translated copy, also below unknown keywords, because references may lead there.

    If a reference leads through a name that would change, names of that kind stay as they are.
    """
    text = json.dumps(schema)
    copy: dict[str, Any] = json.loads(text)
    translations = [literals.translate, multiples.translate, bounds.translate]
    translations += [ecma.translate, moments.translate]
    translations += [rename for name, rename in RENAMES.items() if f"/{name}/" not in text]
    for here in nodes(copy):
        for translate in translations:
            translate(here)
    return copy


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all below it; a node may be changed before the next, which is looked for only then."""
    left: list[Any] = [schema]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            yield here
            left.extend(_inside(here))
        elif isinstance(here, list):
            left.extend(here)


def _inside(schema: dict[str, Any]) -> Iterator[Any]:
    for name, value in schema.items():
        if name in NAMING and isinstance(value, dict):
            yield from value.values()
        elif name not in LITERAL:
            yield value
