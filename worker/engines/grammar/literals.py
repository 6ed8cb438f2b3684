"""Removes keywords about numbers and lengths beside a schema's literals, with the literals they rule out.

llguidance writes multiples of 0.25 with two digits, 0.50, so it takes the literal 0.5 for none. Gemma's form
cannot hold an answer to keywords beside literals.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from operator import ge, gt, le, lt
from typing import Any

# In draft 4 a bound is exclusive if this keyword beside it is true.
EXCLUSIVE = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}


def translate(schema: dict[str, Any]) -> None:
    """Keep the literals that the keywords allow, and drop the keywords; if none is left, change nothing."""
    words = [*_words(schema)]
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not words or not isinstance(values, list) or not all(_number(bound) for _, bound in words):
        return
    left = [value for value in values if all(_fits(value, *word) for word in words)]
    if not left:
        return
    for name in schema.keys() & (NUMBERS.keys() | LENGTHS.keys()):
        del schema[name]
    if "enum" in schema:
        schema["enum"] = left


def _words(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keywords about numbers and lengths with their bounds, as later drafts write them."""
    for name in schema.keys() & (NUMBERS.keys() | LENGTHS.keys()):
        exclusive = EXCLUSIVE.get(name, name)
        if schema.get(exclusive) is True and exclusive != name:
            yield exclusive, schema[name]
        elif name not in EXCLUSIVE.values() or not isinstance(schema[name], bool):
            yield name, schema[name]


def _fits(value: Any, name: str, bound: float) -> bool:
    """A keyword allows every value of a type that it is not about."""
    if name in NUMBERS:
        return not _number(value) or NUMBERS[name](value, bound)
    return not isinstance(value, str) or LENGTHS[name](len(value), bound)


def _multiple(value: float, factor: float) -> bool:
    """Computed exactly, from the digits that both are written with."""
    return factor > 0 and Fraction(str(value)) % Fraction(str(factor)) == 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "minimum": ge,
    "maximum": le,
    "exclusiveMinimum": gt,
    "exclusiveMaximum": lt,
    "multipleOf": _multiple,
}
LENGTHS: dict[str, Callable[[float, float], bool]] = {"minLength": ge, "maxLength": le}
