"""Finds the types of values that each part of a JSON Schema allows, by its types, literals and references."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from shared.json_pointer import found
from worker.engines.grammar.branches import same

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
    """The types that a schema and those below it allow, by the keywords that Gemma's form can hold.

    Wherever numbers are allowed, integers are, too.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        schemas = {id(schema): schema for schema in _schemas(root)}
        own = {place: _own(schema) for place, schema in schemas.items()}
        self._left: dict[int, set[str]] = {place: set() for place in schemas}
        # Types are passed up from the schemas without choices; descending from each would take quadratic
        # time.
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
        """Whether the schema was read here; literals and the values of unknown keywords were not."""
        return id(schema) in self._left

    def of(self, schema: Schema, among: Types) -> Types:
        """The types in `among` that a known schema allows."""
        return tuple(kind for kind in among if kind in self._left[id(schema)])


def type_of(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value % 1 == 0 else "number"
    return NAMES[type(value)]


def literals(schema: dict[str, Any]) -> list[Any] | None:
    """The values that a schema names (`const`, `enum`); None if it names none."""
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
    """The schemas of which a value of this one has to match at least one, if any."""
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
