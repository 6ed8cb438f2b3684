"""Moves bounds beside a `multipleOf` to the multiples that they admit.

llguidance never writes a multiple whose decimals begin a bound's (0.9 where 0.95 is the most), and computes
with doubles whether there is any: between 0.3 and 0.3 it finds no multiple of 0.1.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeGuard

LOW = ("minimum", "exclusiveMinimum")
HIGH = ("maximum", "exclusiveMaximum")
KINDS = ("number", "integer", "null")


def translate(schema: dict[str, Any]) -> None:
    """Bounds and factor of other parts, in an `allOf` or behind a reference, are not seen."""
    factor = schema.get("multipleOf")
    # What lies in unknown keywords was checked by nobody.
    if not _number(factor) or factor <= 0 or not all(map(_usable, [factor, *_bounds(schema)])):
        return
    step = _exact(factor)
    if "integer" in _kinds(schema) and "number" not in _kinds(schema):
        # Whole multiples of p/q in lowest terms are those of p.
        factor = schema["multipleOf"] = step.numerator
        step = Fraction(factor)
    first = max((math.ceil(bound / step) for bound in _admitted(schema, LOW, step)), default=None)
    last = min((math.floor(bound / step) for bound in _admitted(schema, HIGH, step)), default=None)
    if first is not None and last is not None:
        if first > last:
            return  # llguidance says that it contradicts itself
        # Rounding may lose one at either end.
        if last - first < 2 and _missed(float(first * step), float(last * step), factor):
            _name(schema, [float(count * step) for count in range(first, last + 1)])
            return
    if _astride(first, last) and _trailing(step) and "anyOf" not in schema:
        _part(schema, first, last, step)
        return
    _move(schema, LOW, first, step)
    _move(schema, HIGH, last, step)


def _admitted(schema: dict[str, Any], names: tuple[str, str], step: Fraction) -> Iterator[Fraction]:
    """The bounds of one side; an exclusive one that is a multiple is moved inwards, by less than a step."""
    inwards = step / 2 if names is LOW else -step / 2
    for name in names:
        if _number(value := schema.get(name)):
            exclusive = name == names[1] or schema.get(names[1]) is True
            on_it = exclusive and not _exact(value) % step
            yield _exact(value) + (inwards if on_it else 0)


def _kinds(schema: dict[str, Any]) -> list[Any]:
    """The types it names; one that is None stands for all."""
    types: Any = schema.get("type")
    return types if isinstance(types, list) else [types]


def _missed(first: float, last: float, factor: float) -> bool:
    """Whether llguidance would find no multiple from `first` to `last`, which are some."""
    return math.ceil(first / factor) * factor > math.floor(last / factor) * factor


def _name(schema: dict[str, Any], values: list[float]) -> None:
    """Say which they are, where nothing but numbers and null can be meant."""
    kinds = _kinds(schema)
    if not all(kind in KINDS for kind in kinds) or {"enum", "const"} & schema.keys():
        return
    for name in (*LOW, *HIGH, "multipleOf"):
        schema.pop(name, None)
    schema["enum"] = [*values, *([None] if "null" in kinds else [])]


def _astride(first: int | None, last: int | None) -> bool:
    """Whether a bounded range holds numbers on both sides of 0."""
    bounded = first is not None or last is not None
    return bounded and (first is None or first < 0) and (last is None or last >= 0)


def _trailing(step: Fraction) -> bool:
    """Whether llguidance writes some of its fractions with a 0 at the end, like 0.50 among those of 0.25."""
    return _decimals(step) > 1 and step > Fraction(1, 10 ** _decimals(step))


def _part(schema: dict[str, Any], first: int | None, last: int | None, step: Fraction) -> None:
    """Bound what is below 0 by itself: in a range that reaches past 0, llguidance never writes -0.50."""
    below: dict[str, Any] = {name: schema[name] for name in ("type", "multipleOf") if name in schema}
    above: dict[str, Any] = {**below, "minimum": 0}
    _move(below, LOW, first, step)
    _move(below, HIGH, -1, step)
    _move(above, HIGH, last, step)
    # Gemma's calls take nothing but a type beside an `anyOf`.
    for name in (*LOW, *HIGH, "multipleOf"):
        schema.pop(name, None)
    schema["anyOf"] = [below, above]


def _move(schema: dict[str, Any], names: tuple[str, str], count: int | None, step: Fraction) -> None:
    if count is None:
        return
    for name in names:
        schema.pop(name, None)
    bound = count * step
    place = Fraction(1, 10 ** _decimals(step))
    # llguidance writes 8.50 for multiples of 0.25, which a bound of 8.5 rules out; 8.51 is no multiple.
    if _decimals(bound) < _decimals(step) and step > place:
        bound += -place if names is LOW else place
    schema[names[0]] = int(bound) if bound.denominator == 1 else float(bound)


def _decimals(value: Fraction) -> int:
    """Of a number that was written in decimals."""
    places = 0
    while value.denominator != 1:
        value, places = value * 10, places + 1
    return places


def _bounds(schema: dict[str, Any]) -> list[Any]:
    return [schema[name] for name in (*LOW, *HIGH) if name in schema]


def _usable(value: Any) -> bool:
    """Whether it is a number, or draft 4's word beside one, that `api.dialects.json_schema` lets by."""
    return isinstance(value, bool) or (_number(value) and (not value or 1e-20 < abs(value) <= 2**53))


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exact(value: float) -> Fraction:
    """The number that was written, and not the double nearest to it."""
    return Fraction(str(value))
