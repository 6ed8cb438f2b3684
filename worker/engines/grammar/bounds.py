"""Moves the exclusive bounds of numbers in a JSON Schema to values that llguidance respects.

llguidance allows an excluded whole number if the other bound is less than one further from 0, even if the two
come from different parts of the schema. A bound that is not a whole number needs no change.
"""

from typing import Any

# Numbers nearer to 0 have so many digits that a schema with many bounds would be too complex.
NEAREST = 1e-20
# The most digits that llguidance reads without rounding.
DIGITS = 15
# Each bound with its side of 0: on the other side llguidance respects it.
SIDES = (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1))


def translate(schema: dict[str, Any]) -> None:
    """Draft 4 writes `exclusiveMinimum: true` beside `minimum`; later drafts have the bound itself there."""
    for bound, exclusive, side in SIDES:
        name = bound if schema.get(exclusive) is True else exclusive
        value: Any = schema.get(name)
        if _whole(value) and value * side >= 0:
            schema[name] = side * _beyond(abs(value))


def _whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0


def _beyond(whole: float) -> float:
    """The next number, away from 0, with at most DIGITS digits."""
    if not whole:
        return NEAREST
    step = 10.0 ** (len(str(int(whole))) - DIGITS)
    return whole if step >= 1 else float(f"{whole + step:.{DIGITS}g}")
