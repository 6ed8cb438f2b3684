"""Grammar rules for a function's arguments in Gemma's form, made from their JSON Schema.

The form is not JSON: keys are bare, and strings stand between marks of their own.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from shared.errors import CallerError
from shared.json_pointer import resolve
from shared.tool_calls.gemma import QUOTE
from worker.engines.grammar.lark import Mark, is_token, quoted

Schema = dict[str, Any] | bool
# Integers are numbers.
TYPES = ("object", "array", "string", "number", "boolean", "null")
# Keywords that this form cannot express; a schema with one is refused.
UNSUPPORTED = frozenset(
    {"pattern", "format", "oneOf", "prefixItems", "patternProperties", "minProperties", "maxProperties"}
)
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Keywords that define a value alone: no constraint may stand next to one but a type next to literals, and
# `object`, which arguments always are.
WHOLE = ("$ref", "enum", "const", "anyOf", "allOf")
CONSTRAINTS = frozenset(
    {
        *("type", "properties", "additionalProperties", "required", "items", "minItems", "maxItems"),
        *("minLength", "maxLength", *NUMBERS, *WHOLE),
    }
)
# Rules named like places of a schema, but no schema has these places.
ANYTHING, ANY_OBJECT = "anything", "object"
BARE = r"/[A-Za-z0-9_-]+/"
LITERALS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", type(None): "null"}
KEY = re.compile(r"[^:{}\[\],<>|\"\s]+")


def arguments(name: str, schema: dict[str, Any], mark: Mark) -> Iterator[str]:
    """The rules; the first has this name. Raises CallerError as `Rules.value`."""
    rules = Rules(name, schema, mark)
    yield f"{name}: {rules.value(schema, objects=True)}"
    rules.finish()
    yield from rules.others


class Rules:
    """Builds the rules of one function's arguments, except the first. Their names begin with `prefix`."""

    def __init__(self, prefix: str, root: dict[str, Any], mark: Mark) -> None:
        self.others: list[str] = []
        self._prefix = prefix
        self._root = root
        self._mark = mark(QUOTE)
        self._named: dict[tuple[str, bool], str] = {}
        # Rules named but not yet written; a queue, because references may be nested hundreds deep.
        self._unwritten: list[tuple[str, bool]] = []
        self._numbers = count()

    def finish(self) -> None:
        """Write the rules that have only been named. Raises as `value`."""
        while self._unwritten:
            key = self._unwritten.pop()
            self.others.append(f"{self._named[key]}: {self._content(*key)}")

    def value(self, schema: Schema, *, objects: bool = False) -> str:
        """The rule body for values of the schema, limited to `objects` if so.

        Raises CallerError `unsupported_parameter` for what this form cannot express, `invalid_request` if
        counts contradict each other.
        """
        if schema in (True, {}):
            return self._named_rule(ANY_OBJECT if objects else ANYTHING)
        if not isinstance(schema, dict):
            raise _unsupported("false")
        if unsupported := next((key for key in schema if key in UNSUPPORTED), None):
            raise _unsupported(unsupported)
        keyword = _alone(schema)
        if keyword is None:
            return self._any(_types(schema), schema, objects)
        if keyword in ("enum", "const"):
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return self._literals(values, _types(schema))
        objects = objects or schema.get("type") == "object"
        if keyword == "$ref":
            return self._named_rule(schema["$ref"], objects)
        if keyword == "allOf" and len(schema["allOf"]) > 1:
            raise _unsupported("allOf")
        parts = [part for part in schema[keyword] if not objects or _may_be_object(part)]
        if not parts:
            raise _unsupported(keyword)
        return _either(self.value(part, objects=objects) for part in parts)

    def _any(self, types: Sequence[str], schema: dict[str, Any], objects: bool) -> str:
        if objects and "object" not in types:
            raise _unsupported("type")
        return _either(self._typed(kind, schema) for kind in (["object"] if objects else types))

    def _literals(self, values: Sequence[Any], types: Sequence[str]) -> str:
        if any(isinstance(value, list | dict) for value in values):
            raise _unsupported("enum")
        kinds = {*types, "integer"} if "number" in types else {*types}
        allowed = [value for value in values if _type_of(value) in kinds]
        if not allowed:
            raise _unsupported("type")
        return _either(map(self._literal, allowed))

    def _typed(self, kind: str, schema: dict[str, Any]) -> str:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return self._text(schema)
        bounds = {key: schema[key] for key in NUMBERS if key in schema and kind in ("number", "integer")}
        return f"%json {json.dumps({'type': kind} | bounds)}"

    def _text(self, schema: dict[str, Any]) -> str:
        least, most = _counts(schema, "minLength", "maxLength")
        many = "*" if not least and most is None else f"{{{least},{'' if most is None else most}}}"
        text = rf"/(.|\n){many}/"
        if is_token(self._mark):
            return f"{self._mark} {self._add(text, terminal=True)} {self._mark}"
        own = self._name()
        self.others.append(f"{own}[lazy]: {text} {self._mark}")
        return f"{self._mark} {own}"

    def _array(self, schema: dict[str, Any]) -> str:
        least, most = _counts(schema, "minItems", "maxItems")
        if most == 0:
            return '"[" "]"'
        item = self._add(self.value(schema.get("items", True)))
        more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        several = item if most == 1 else f'{item} ("," {item}){more}'
        return f'"[" {several} "]"' if least else f'"[" ({several})? "]"'

    def _object(self, schema: dict[str, Any]) -> str:
        """The schema's properties in their order; without any, those that `additionalProperties` allows."""
        own, required = schema.get("properties", {}), schema.get("required", ())
        if not own.keys() >= {*required}:
            raise _unsupported("required")
        if not own:
            others = schema.get("additionalProperties", True)
            return self._named_rule(ANY_OBJECT) if others in (True, {}) else self._open(others)
        # From the last property on, two rules for the rest: `later` if one came before, `first` if none did.
        later, first = '""', '""'
        for key, inner in reversed(own.items()):
            if not KEY.fullmatch(key):
                raise _unsupported("properties")
            pair = f"{quoted(key + ':')} {self.value(inner)}"
            next_later, next_first = f'"," {pair} {later}', f"{pair} {later}"
            if key not in required:
                next_later, next_first = f"{next_later} | {later}", f"{next_first} | {first}"
            later, first = self._add(next_later), self._add(next_first)
        return f'"{{" {first} "}}"'

    def _open(self, others: Schema) -> str:
        """An object with any names, whose values all match `others`."""
        if others is False:
            return '"{" "}"'
        pair = f'{self._add(BARE, terminal=True)} ":" {self.value(others)}'
        return f'"{{" ({pair} ("," {pair})*)? "}}"'

    def _named_rule(self, place: str, objects: bool = False) -> str:
        """A named rule, for what may contain itself: a place of the schema, any object, or any value."""
        key = place, objects
        if key not in self._named:
            self._named[key] = self._name()
            self._unwritten.append(key)
        return self._named[key]

    def _content(self, place: str, objects: bool) -> str:
        if place == ANYTHING:
            return self._any(TYPES, {}, objects)
        if place == ANY_OBJECT:
            return self._open(True)
        schema = resolve(self._root, place)
        if not isinstance(schema, dict | bool):
            raise _unsupported("$ref")
        return self.value(schema, objects=objects)

    def _literal(self, value: str | float | None) -> str:
        if isinstance(value, str):
            return f"{self._mark} {quoted(value)} {self._mark}"
        return quoted(json.dumps(value))

    def _add(self, body: str, *, terminal: bool = False) -> str:
        """Add a rule, or a terminal (`terminal`), whose name is in capitals."""
        own = self._name().upper() if terminal else self._name()
        self.others.append(f"{own}: {body}")
        return own

    def _name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"


def _either(choices: Iterable[str]) -> str:
    return "(" + " | ".join(choices) + ")"


def _alone(schema: dict[str, Any]) -> str | None:
    """The keyword of WHOLE in the schema, if any. Raises CallerError if a constraint stands next to it."""
    keyword = next((key for key in WHOLE if key in schema), None)
    if keyword is None:
        return None
    allowed = {"enum", "const", "type"} if keyword in ("enum", "const") else {keyword}
    for key in schema:
        idle = schema[key] is True or schema[key] in ([], {}) or (key, schema[key]) == ("type", "object")
        if key in CONSTRAINTS - allowed and not idle:
            raise _unsupported(f"{key} beside {keyword}")
    return keyword


def _types(schema: dict[str, Any]) -> list[str]:
    """The types that the schema names; an integer needs no rule of its own next to a number."""
    types = schema.get("type", TYPES)
    types = [types] if isinstance(types, str) else [*types]
    return [kind for kind in types if kind != "integer" or "number" not in types]


def _may_be_object(schema: Schema) -> bool:
    """As far as its own keywords say."""
    if not isinstance(schema, dict):
        return schema
    return "object" in _types(schema) and not schema.keys() & {"enum", "const"}


def _type_of(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value % 1 == 0 else "number"
    return LITERALS[type(value)]


def _counts(schema: dict[str, Any], low: str, high: str) -> tuple[int, int | None]:
    """The least and the most. Raises CallerError `invalid_request` if the least is more."""
    least, most = schema.get(low, 0), schema.get(high)
    if most is not None and most < least:
        message = f"Calls cannot be held to these schemas: {low} is above {high}."
        raise CallerError("invalid_request", message, param="tools")
    return least, most


def _unsupported(keyword: str) -> CallerError:
    message = f"This model writes calls in a form of its own, where {keyword!r} of a schema cannot be kept."
    return CallerError("unsupported_parameter", message, param="tools")
