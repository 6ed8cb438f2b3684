"""Arguments in Gemma's form, as rules of a grammar made from their JSON Schema.

They are no JSON: keys are bare, and a mark of their own stands around texts.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from shared.calls.gemma import QUOTE
from shared.errors import CallerError
from worker.engines.lark import Mark, is_token, quoted

Schema = dict[str, Any] | bool
# What a schema says of a value without a bound that this form has no words for.
NOT_HELD = frozenset(
    {"pattern", "format", "oneOf", "prefixItems", "patternProperties", "minProperties", "maxProperties"}
)
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
# Named like places of a schema, which no schema has.
ANYTHING, ANY_OBJECT = "anything", "object"
KEY = re.compile(r"[^:{}\[\],<>|\"\s]+")


def arguments(name: str, schema: dict[str, Any], mark: Mark) -> Iterator[str]:
    """Rules, the first one of this name. Raises CallerError `unsupported_parameter`."""
    rules = Rules(name, schema, mark)
    yield f"{name}: {rules.value(schema)}"
    rules.finish()
    yield from rules.others


class Rules:
    """Those of one function's arguments, beside the first. `prefix` begins the names of all."""

    def __init__(self, prefix: str, root: dict[str, Any], mark: Mark) -> None:
        self.others: list[str] = []
        self._prefix = prefix
        self._root = root
        self._mark = mark(QUOTE)
        self._named: dict[str, str] = {}
        # Named and not yet written: a reference may lead to the next one hundreds of times.
        self._owed: list[str] = []
        self._schemas = {id(schema) for schema in _schemas(root)}
        self._numbers = count()

    def finish(self) -> None:
        """Write what has only been named. Raises as `value`."""
        while self._owed:
            place = self._owed.pop()
            self.others.append(f"{self._named[place]}: {self._content(place)}")

    def value(self, schema: Schema) -> str:
        """What goes where the schema stands. Raises CallerError for what this form has no words for."""
        if schema is True or schema == {}:
            return self._named_rule(ANYTHING)
        if not isinstance(schema, dict):
            raise _unheld("false")
        if wrong := next((key for key in schema if key in NOT_HELD), None):
            raise _unheld(wrong)
        if "$ref" in schema:
            return self._named_rule(schema["$ref"])
        if "const" in schema or "enum" in schema:
            return _either(map(self._literal, schema.get("enum", [schema.get("const")])))
        parts = schema.get("anyOf") or schema.get("allOf")
        if parts is not None:
            if "allOf" in schema and len(parts) > 1:
                raise _unheld("allOf")
            return _either(map(self.value, parts))
        types = schema.get("type", TYPES)
        return _either(self._typed(t, schema) for t in ([types] if isinstance(types, str) else types))

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
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        many = "*" if not least and most == "" else f"{{{least},{most}}}"
        text = rf"/(.|\n){many}/"
        if is_token(self._mark):
            return f"{self._mark} {self._add(text, word=True)} {self._mark}"
        own = self._name()
        self.others.append(f"{own}[lazy]: {text} {self._mark}")
        return f"{self._mark} {own}"

    def _array(self, schema: dict[str, Any]) -> str:
        item = self._add(self.value(schema.get("items", True)))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[" "]"'
        more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        several = f'{item} ("," {item}){more}'
        return f'"[" {several} "]"' if least else f'"[" ({several})? "]"'

    def _object(self, schema: dict[str, Any]) -> str:
        """Its own properties in their order; one without any has what it likes."""
        if not schema.get("properties"):
            return self._named_rule(ANY_OBJECT)
        required = schema.get("required", ())
        # From the last on: what follows a property, where one came before it and where none did.
        behind, first = '""', '""'
        for key, inner in reversed(schema["properties"].items()):
            if not KEY.fullmatch(key):
                raise _unheld("properties")
            own = f"{quoted(key + ':')} {self.value(inner)}"
            after, begin = f'"," {own} {behind}', f"{own} {behind}"
            if key not in required:
                after, begin = f"{after} | {behind}", f"{begin} | {first}"
            behind, first = self._add(after), self._add(begin)
        return f'"{{" {first} "}}"'

    def _named_rule(self, place: str) -> str:
        """Of what may be inside itself: a place of the schema, any object, or any value."""
        if place not in self._named:
            self._named[place] = self._name()
            self._owed.append(place)
        return self._named[place]

    def _content(self, place: str) -> str:
        if place == ANYTHING:
            return _either(self._typed(kind, {}) for kind in TYPES)
        if place == ANY_OBJECT:
            pair = f'{self._add("/[A-Za-z0-9_-]+/", word=True)} ":" {self._named_rule(ANYTHING)}'
            return f'"{{" ({pair} ("," {pair})*)? "}}"'
        found = _found(self._root, place)
        # Nobody has looked at what is no schema: a literal, or an unknown keyword's value.
        if id(found) not in self._schemas:
            raise _unheld("$ref")
        return self.value(found)

    def _literal(self, value: Any) -> str:
        if isinstance(value, str):
            return f"{self._mark} {quoted(value)} {self._mark}"
        if isinstance(value, list | dict):
            raise _unheld("enum")
        return quoted(json.dumps(value))

    def _add(self, body: str, *, word: bool = False) -> str:
        """A rule, or a word, which has capital letters."""
        own = self._name().upper() if word else self._name()
        self.others.append(f"{own}: {body}")
        return own

    def _name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"


def _either(choices: Iterable[str]) -> str:
    return "(" + " | ".join(choices) + ")"


def _found(root: dict[str, Any], place: str) -> Schema:
    """What a reference names. Raises CallerError where it leads nowhere."""
    here: Any = root
    for step in place.lstrip("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if name:
            if not isinstance(here, dict) or name not in here:
                raise _unheld("$ref")
            here = here[name]
    found: Schema = here
    return found


def _schemas(root: Schema) -> Iterator[Schema]:
    """A schema and all below it that this form has words for."""
    left: list[Any] = [root]
    while left:
        here = left.pop()
        yield here
        if isinstance(here, dict):
            for name in ("properties", "$defs", "definitions"):
                left.extend(here.get(name, {}).values())
            for name in ("anyOf", "allOf"):
                left.extend(here.get(name, ()))
            left.append(here.get("items", True))


def _unheld(keyword: str) -> CallerError:
    message = f"This model writes calls in a form of its own, where {keyword!r} of a schema cannot be kept."
    return CallerError("unsupported_parameter", message, param="tools")
