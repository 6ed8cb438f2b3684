"""Grammar rules for a function's arguments in Gemma's form, made from their JSON Schema.

The form is not JSON: keys are bare, and strings stand between marks of their own. The rules keep a schema's
properties, types, literals, choices and references; what else it asks for is checked in the finished answer.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from shared.json_pointer import resolve
from shared.tool_calls.gemma import QUOTE
from worker.engines.grammar.lark import Mark, is_token, quoted

Schema = dict[str, Any] | bool
# Integers are numbers.
TYPES = ("object", "array", "string", "number", "boolean", "null")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Rules named like places of a schema, but no schema has these places.
ANYTHING, ANY_OBJECT = "anything", "object"
BARE = r"/[A-Za-z0-9_-]+/"
KEY = re.compile(r"[^:{}\[\],<>|\"\s]+")


def arguments(name: str, schema: dict[str, Any], mark: Mark) -> Iterator[str]:
    """The rules; the first has this name. A schema that is not plainly an object's allows any object."""
    rules = Rules(name, schema, mark)
    root = resolve(schema, schema["$ref"]) if "$ref" in schema else schema
    yield f"{name}: {rules.object(root if isinstance(root, dict) else {})}"
    rules.finish()
    yield from rules.others


class Rules:
    """Builds the rules of one function's arguments, except the first. Their names begin with `prefix`."""

    def __init__(self, prefix: str, root: dict[str, Any], mark: Mark) -> None:
        self.others: list[str] = []
        self._prefix = prefix
        self._root = root
        self._mark = mark(QUOTE)
        self._named: dict[str, str] = {}
        # Places with a rule not yet written; a queue, because references may be nested hundreds deep.
        self._unwritten: list[str] = []
        self._numbers = count()

    def finish(self) -> None:
        """Write the rules that have only been named."""
        while self._unwritten:
            place = self._unwritten.pop()
            self.others.append(f"{self._named[place]}: {self._content(place)}")

    def object(self, schema: dict[str, Any]) -> str:
        """The schema's properties in their order; without any, those that `additionalProperties` allows."""
        own, required = schema.get("properties", {}), schema.get("required", ())
        if not own or not own.keys() >= {*required} or not all(map(KEY.fullmatch, own)):
            others = schema.get("additionalProperties", True)
            return self._named_rule(ANY_OBJECT) if own or others in (True, {}) else self._open(others)
        # From the last property on, two rules for the rest: `later` if one came before, `first` if none did.
        later, first = '""', '""'
        for key, inner in reversed(own.items()):
            pair = f"{quoted(key + ':')} {self._value(inner)}"
            next_later, next_first = f'"," {pair} {later}', f"{pair} {later}"
            if key not in required:
                next_later, next_first = f"{next_later} | {later}", f"{next_first} | {first}"
            later, first = self._add(next_later), self._add(next_first)
        return f'"{{" {first} "}}"'

    def _value(self, schema: Schema) -> str:
        """The rule body for values of the schema."""
        if not isinstance(schema, dict) or not schema:
            return self._named_rule(ANYTHING)
        if "$ref" in schema:
            return self._named_rule(schema["$ref"])
        if "const" in schema or "enum" in schema:
            return self._literals([schema["const"]] if "const" in schema else schema["enum"])
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema and (keyword != "allOf" or len(schema[keyword]) == 1):
                return _either(map(self._value, schema[keyword]))
        types = schema.get("type", TYPES)
        return _either(self._typed(kind, schema) for kind in ([types] if isinstance(types, str) else types))

    def _literals(self, values: Sequence[Any]) -> str:
        if any(isinstance(value, list | dict) for value in values):
            return self._named_rule(ANYTHING)
        return _either(map(self._literal, values))

    def _literal(self, value: str | float | None) -> str:
        if isinstance(value, str):
            return f"{self._mark} {quoted(value)} {self._mark}"
        return quoted(json.dumps(value))

    def _typed(self, kind: str, schema: dict[str, Any]) -> str:
        if kind == "object":
            return self.object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return self._text(schema)
        bounds = {key: schema[key] for key in NUMBERS if key in schema and kind in ("number", "integer")}
        return f"%json {json.dumps({'type': kind} | bounds)}"

    def _array(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[" "]"'
        item = self._add(self._value(schema.get("items", True)))
        more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        several = item if most == 1 else f'{item} ("," {item}){more}'
        return f'"[" {several} "]"' if least else f'"[" ({several})? "]"'

    def _text(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        many = "*" if not least and most is None else f"{{{least},{'' if most is None else most}}}"
        text = rf"/(.|\n){many}/"
        if is_token(self._mark):
            return f"{self._mark} {self._add(text, terminal=True)} {self._mark}"
        own = self._name()
        self.others.append(f"{own}[lazy]: {text} {self._mark}")
        return f"{self._mark} {own}"

    def _open(self, others: Schema) -> str:
        """An object with any names, whose values all match `others`."""
        if others is False:
            return '"{" "}"'
        pair = f'{self._add(BARE, terminal=True)} ":" {self._value(others)}'
        return f'"{{" ({pair} ("," {pair})*)? "}}"'

    def _named_rule(self, place: str) -> str:
        """A named rule, for what may contain itself: a place of the schema, any object, or any value."""
        if place not in self._named:
            self._named[place] = self._name()
            self._unwritten.append(place)
        return self._named[place]

    def _content(self, place: str) -> str:
        if place == ANY_OBJECT:
            return self._open(True)
        schema = None if place == ANYTHING else resolve(self._root, place)
        return self._value(schema if isinstance(schema, dict) and schema else {"type": TYPES})

    def _add(self, body: str, *, terminal: bool = False) -> str:
        """Add a rule, or a terminal (`terminal`), whose name is in capitals."""
        own = self._name().upper() if terminal else self._name()
        self.others.append(f"{own}: {body}")
        return own

    def _name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"


def _either(choices: Iterable[str]) -> str:
    return "(" + " | ".join(choices) + ")"
