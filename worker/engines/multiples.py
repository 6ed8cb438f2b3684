"""Literals beside a `multipleOf`.

llguidance writes a multiple of 0.25 as 0.50, with as many digits as that has: the literal 0.5 is none to it.
"""

from fractions import Fraction
from typing import Any


def translate(schema: dict[str, Any]) -> None:
    """Where all of them are multiples the factor says nothing more."""
    if "multipleOf" not in schema or not schema.keys() & {"enum", "const"}:
        return
    values, factor = schema.get("enum", [schema.get("const")]), schema["multipleOf"]
    if isinstance(values, list) and all(_multiple(value, factor) for value in values):
        del schema["multipleOf"]


def _multiple(value: Any, factor: Any) -> bool:
    """By the digits that both are written with. What is no number may stand beside any factor."""
    if not _number(value):
        return True
    return _number(factor) and factor > 0 and Fraction(str(value)) % Fraction(str(factor)) == 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
