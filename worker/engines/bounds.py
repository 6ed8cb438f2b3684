"""Exclusive bounds of numbers, moved to where llguidance keeps them.

It takes in a whole number that a schema shuts out where the other bound lies less than one further from 0,
also where the two come from different parts of the schema. A bound that is no whole number is kept.
"""

from typing import Any

# Nearer to 0, numbers have so many digits that a schema with many bounds is too complex.
NEAREST = 1e-20
# As many as it reads without rounding.
DIGITS = 15
# Each with its side of 0: on the other one nothing is wrong.
SIDES = (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1))


def translate(schema: dict[str, Any]) -> None:
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
