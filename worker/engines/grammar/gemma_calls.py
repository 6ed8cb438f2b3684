"""Grammar rules for a function's arguments in Gemma's form, made from their JSON Schema.

The form is not JSON: keys are bare, and strings stand between marks of their own.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from shared.errors import CallerError
from shared.json_pointer import found
from shared.tool_calls.gemma import QUOTE
from worker.engines.grammar.kinds import TYPES, Kinds, Schema, Types, literals, type_of
from worker.engines.grammar.lark import Mark, is_token, quoted

# Keywords that this form cannot hold an answer to; a schema with one is refused.
NOT_HELD = frozenset(
    {"pattern", "format", "oneOf", "prefixItems", "patternProperties", "minProperties", "maxProperties"}
)
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Keywords that define a value by themselves: only `type` may stand beside one.
WHOLE = ("$ref", "enum", "const", "anyOf", "allOf")
# Keywords that constrain a value.
SAYING = frozenset(
    {
        *("properties", "additionalProperties", "required", "items", "minItems", "maxItems"),
        *("minLength", "maxLength", *NUMBERS, *WHOLE),
    }
)
# Rules named like places of a schema, but no schema has these places.
ANYTHING, ANY_OBJECT = "anything", "object"
BARE = r"/[A-Za-z0-9_-]+/"
KEY = re.compile(r"[^:{}\[\],<>|\"\s]+")


def arguments(name: str, schema: dict[str, Any], mark: Mark) -> Iterator[str]:
    """The rules; the first has this name. Raises CallerError as `Rules.value`."""
    rules = Rules(name, schema, mark)
    yield f"{name}: {rules.value(schema)}"
    rules.finish()
    yield from rules.others


class Rules:
    """Builds the rules of one function's arguments, except the first. Their names begin with `prefix`."""

    def __init__(self, prefix: str, root: dict[str, Any], mark: Mark) -> None:
        self.others: list[str] = []
        self._prefix = prefix
        self._root = root
        self._mark = mark(QUOTE)
        self._named: dict[tuple[str, Types], str] = {}
        # Rules named but not yet written; a queue, because references may be nested hundreds deep.
        self._owed: list[tuple[str, Types]] = []
        self._kinds = Kinds(root)
        self._numbers = count()

    def finish(self) -> None:
        """Write the rules that have only been named. Raises as `value`."""
        while self._owed:
            owed = self._owed.pop()
            self.others.append(f"{self._named[owed]}: {self._content(*owed)}")

    def value(self, schema: Schema, among: Types = TYPES) -> str:
        """The rule body for values of the schema, limited to the types `among`.

        Raises CallerError `unsupported_parameter` for what this form cannot express and for a schema without
        values, `invalid_request` if counts contradict each other.
        """
        if schema in (True, {}) and among == TYPES:
            return self._named_rule(ANYTHING)
        types = self._kinds.of(schema, among)
        if not isinstance(schema, dict) or not types:
            raise _unheld("type" if isinstance(schema, dict) else "false")
        if wrong := next((key for key in schema if key in NOT_HELD), None):
            raise _unheld(wrong)
        said = _alone(schema)
        if said == "$ref":
            return self._named_rule(schema["$ref"], types)
        if said in ("enum", "const"):
            values = literals(schema) or ()
            return _either(self._literal(value) for value in values if type_of(value) in types)
        if said is None:
            return self._any(types, schema)
        if said == "allOf" and len(schema[said]) > 1:
            raise _unheld(said)
        parts = [part for part in schema[said] if self._kinds.of(part, types)]
        if not parts:
            raise _unheld(said)
        return _either(self.value(part, types) for part in parts)

    def _any(self, types: Types, schema: dict[str, Any]) -> str:
        return _either(
            self._typed(kind, schema) for kind in types if kind != "integer" or "number" not in types
        )

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
            return f"{self._mark} {self._add(text, word=True)} {self._mark}"
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
            raise _unheld("required")
        if not own:
            others = schema.get("additionalProperties", True)
            return self._named_rule(ANY_OBJECT) if others in (True, {}) else self._open(others)
        # From the last property on, two rules for the rest: `behind` if one came before, `first` if none did.
        behind, first = '""', '""'
        for key, inner in reversed(own.items()):
            if not KEY.fullmatch(key):
                raise _unheld("properties")
            pair = f"{quoted(key + ':')} {self.value(inner)}"
            after, begin = f'"," {pair} {behind}', f"{pair} {behind}"
            if key not in required:
                after, begin = f"{after} | {behind}", f"{begin} | {first}"
            behind, first = self._add(after), self._add(begin)
        return f'"{{" {first} "}}"'

    def _open(self, others: Schema) -> str:
        """An object with any names, whose values all match `others`."""
        if others is False:
            return '"{" "}"'
        pair = f'{self._add(BARE, word=True)} ":" {self.value(others)}'
        return f'"{{" ({pair} ("," {pair})*)? "}}"'

    def _named_rule(self, place: str, types: Types = TYPES) -> str:
        """A named rule, for what may contain itself: a place of the schema, any object, or any value."""
        named = place, types
        if named not in self._named:
            self._named[named] = self._name()
            self._owed.append(named)
        return self._named[named]

    def _content(self, place: str, types: Types) -> str:
        if place == ANYTHING:
            return self._any(types, {})
        if place == ANY_OBJECT:
            return self._open(True)
        schema = found(self._root, place)
        if not self._kinds.known(schema):
            raise _unheld("$ref")
        return self.value(schema, types)

    def _literal(self, value: Any) -> str:
        if isinstance(value, str):
            return f"{self._mark} {quoted(value)} {self._mark}"
        if isinstance(value, list | dict):
            raise _unheld("enum")
        return quoted(json.dumps(value))

    def _add(self, body: str, *, word: bool = False) -> str:
        """Add a rule, or a terminal (`word`), whose name is in capitals."""
        own = self._name().upper() if word else self._name()
        self.others.append(f"{own}: {body}")
        return own

    def _name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"


def _either(choices: Iterable[str]) -> str:
    return "(" + " | ".join(choices) + ")"


def _alone(schema: dict[str, Any]) -> str | None:
    """The keyword of WHOLE in the schema, if any. Raises CallerError if a constraint stands beside it."""
    said = next((key for key in WHOLE if key in schema), None)
    if said is None:
        return None
    own = {"enum", "const"} if said in ("enum", "const") else {said}
    for key in schema:
        idle = schema[key] is True or schema[key] in ([], {})
        if key in SAYING - own and not idle:
            raise _unheld(f"{key} beside {said}")
    return said


def _counts(schema: dict[str, Any], low: str, high: str) -> tuple[int, int | None]:
    """The least and the most. Raises CallerError `invalid_request` if the least is more."""
    least, most = schema.get(low, 0), schema.get(high)
    if most is not None and most < least:
        message = f"Calls cannot be held to these schemas: {low} is above {high}."
        raise CallerError("invalid_request", message, param="tools")
    return least, most


def _unheld(keyword: str) -> CallerError:
    message = f"This model writes calls in a form of its own, where {keyword!r} of a schema cannot be kept."
    return CallerError("unsupported_parameter", message, param="tools")
