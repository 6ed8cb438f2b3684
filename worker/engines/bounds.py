"""Exclusive bounds of numbers, moved to where llguidance keeps them.

It takes in a whole number that a schema shuts out where the other bound lies less than one further from 0,
also where the two come from different parts of the schema. A bound that is no whole number is kept.
"""

import json
from collections.abc import Iterator
from typing import Any

# Nearer to 0, numbers have so many digits that a schema with many bounds is too complex.
NEAREST = 1e-20
# As many as it reads without rounding.
DIGITS = 15
# Each with its side of 0: on the other one nothing is wrong.
SIDES = (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1))
NAMING = ("properties", "patternProperties", "$defs", "definitions")
LITERAL = ("const", "enum")


def moved(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy. Bounds move below unknown keywords as well: references may lead there."""
    copy: dict[str, Any] = json.loads(json.dumps(schema))
    left: list[Any] = [copy]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            _move(here)
            left.extend(_inside(here))
        elif isinstance(here, list):
            left.extend(here)
    return copy


def _move(schema: dict[str, Any]) -> None:
    """Draft 4 has the bound itself beside a word that it is exclusive."""
    for bound, exclusive, side in SIDES:
        name = bound if schema.get(exclusive) is True else exclusive
        value: Any = schema.get(name)
        if _whole(value) and value * side >= 0:
            schema[name] = side * _beyond(abs(value))


def _whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0


def _beyond(whole: float) -> float:
    """The next number that has no more than so many digits."""
    if not whole:
        return NEAREST
    step = 10.0 ** (len(str(int(whole))) - DIGITS)
    return whole if step >= 1 else float(f"{whole + step:.{DIGITS}g}")


def _inside(schema: dict[str, Any]) -> Iterator[Any]:
    for name, value in schema.items():
        if name in NAMING and isinstance(value, dict):
            yield from value.values()
        elif name not in LITERAL:
            yield value
