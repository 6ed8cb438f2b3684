"""Which types of values a JSON Schema leaves, by its types, its literals and what it refers to."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from shared.json_pointer import found
from worker.engines.branches import same

Schema = dict[str, Any] | bool
Types = tuple[str, ...]
TYPES: Types = ("object", "array", "string", "number", "integer", "boolean", "null")
NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    list: "array",
    dict: "object",
    type(None): "null",
}


class Kinds:
    """Types that a schema and those below it allow, as far as Gemma's form has words for them.

    A number may be whole.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        schemas = {id(schema): schema for schema in _schemas(root)}
        own = {place: _own(schema) for place, schema in schemas.items()}
        self._left: dict[int, set[str]] = {place: set() for place in schemas}
        # Told upwards, from what all may lead to: down from each one would take the square of the time.
        users = defaultdict[int, list[int]](list)
        told: list[tuple[int, set[str]]] = []
        for place, schema in schemas.items():
            choices = {id(choice) for choice in _choices(schema, root)} & schemas.keys()
            for choice in choices:
                users[choice].append(place)
            if not choices:
                told.append((place, own[place]))
        while told:
            place, kinds = told.pop()
            more = (kinds & own[place]) - self._left[place]
            if more:
                self._left[place] |= more
                told.extend((user, more) for user in users[place])

    def known(self, schema: Any) -> bool:
        """Whether it is one of these: nobody has looked at a literal, or at an unknown keyword's value."""
        return id(schema) in self._left

    def of(self, schema: Schema, among: Types) -> Types:
        """The types among these that a known schema leaves."""
        return tuple(kind for kind in among if kind in self._left[id(schema)])


def type_of(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value % 1 == 0 else "number"
    return NAMES[type(value)]


def literals(schema: dict[str, Any]) -> list[Any] | None:
    """The values that a schema names (`const`, `enum`); None where it names none."""
    if "const" not in schema:
        return schema.get("enum")
    const = schema["const"]
    return [value for value in schema.get("enum", [const]) if same(value) == same(const)]


def _own(schema: Schema) -> set[str]:
    if not isinstance(schema, dict):
        return {*TYPES} if schema else set()
    said = schema.get("type", TYPES)
    left = {said} if isinstance(said, str) else {*said}
    if "number" in left:
        left.add("integer")
    values = literals(schema)
    return left if values is None else left & {type_of(value) for value in values}


def _choices(schema: Schema, root: dict[str, Any]) -> list[Any]:
    """What a value of a schema has to be one of, if anything."""
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        return [found(root, schema["$ref"])]
    return schema.get("anyOf") or schema.get("allOf") or []


def _schemas(root: Schema) -> Iterator[Schema]:
    left: list[Any] = [root]
    while left:
        here = left.pop()
        yield here
        if isinstance(here, dict):
            for name in ("properties", "$defs", "definitions"):
                left.extend(here.get(name, {}).values())
            for name in ("anyOf", "allOf"):
                left.extend(here.get(name, ()))
            left.extend(here.get(name, True) for name in ("items", "additionalProperties"))
