"""Checks a caller's JSON Schema before it is queued: its size, the form of its keywords, what is unsupported.

Draft 2020-12 and the older forms that generators still write. What only the compiler can find
(contradictions, references that lead nowhere, patterns) the worker reports. Keywords not listed here are not
read, as the specification says.
"""

import json
import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, NamedTuple
from urllib.parse import unquote

from api.dialects.strict_json import invalid, render, unsupported

# Python reads no number of thousands of digits.
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
MAX_NAME = 256
MAX_PROPERTIES = 1000
# Each token of an answer costs time in proportion to the literal or pattern it is in.
MAX_LITERAL = 4096
# More characters, items or properties than any answer has.
MAX_COUNT = 2**31

FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
"""Formats that answers are held to; another one is an annotation (JSON Schema 2020-12, section 7.2.1)."""
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
UNSUPPORTED = frozenset(
    {
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems"),
        *("dependentRequired", "dependentSchemas", "dependencies", "propertyNames", "unevaluatedItems"),
        *("unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
    }
)
COMBINING = ("$ref", "allOf", "anyOf", "oneOf")
# Keywords that say which properties other than the named ones may occur.
OPENING = frozenset({"additionalProperties", "patternProperties", "const", "enum"})


class ValueForm(NamedTuple):
    """The form of a keyword's value, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and len(item) <= MAX_NAME for item in value)


def _are_types(value: Any) -> bool:
    """Each type once: a schema's keywords for a type are processed as often as the type is listed."""
    if isinstance(value, str):
        return value in TYPES
    return _are_names(value) and set(value) <= set(TYPES) and len(set(value)) == len(value)


def _are_named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(len(k) <= MAX_NAME and _is_schema(v) for k, v in value.items())


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_number(value: Any) -> bool:
    """Some JSON numbers are more than a double can be."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def _is_literal(value: Any) -> bool:
    return len(json.dumps(value, ensure_ascii=False)) <= MAX_LITERAL


def is_whole(pattern: str) -> bool:
    """Whether it ends in no lone backslash, which would escape what the compiler puts after it."""
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 0


SCHEMA = ValueForm("a JSON Schema: an object, true or false", _is_schema)
SCHEMAS = ValueForm("a list of JSON Schemas", _are_schemas)
NAMED = ValueForm(f"an object of JSON Schemas, names of at most {MAX_NAME} characters", _are_named_schemas)
ITEMS = ValueForm("a JSON Schema, or a list of them", lambda v: _is_schema(v) or _are_schemas(v))
COUNT = ValueForm(f"a whole number from 0 to {MAX_COUNT}", lambda v: type(v) is int and 0 <= v <= MAX_COUNT)
NUMBER = ValueForm("a number", _is_number)
# Draft 4 has a boolean here, next to the bound.
EXCLUSIVE = ValueForm("a number", lambda v: _is_number(v) or isinstance(v, bool))

KEYWORDS: dict[str, ValueForm] = {
    "$schema": ValueForm("a text", lambda v: isinstance(v, str)),
    "type": ValueForm(f"one of {', '.join(TYPES)}, or a list of them, each once", _are_types),
    "const": ValueForm(f"a value of at most {MAX_LITERAL} characters", _is_literal),
    "enum": ValueForm(
        f"a list with at least one value, each of at most {MAX_LITERAL} characters",
        lambda v: isinstance(v, list) and bool(v) and all(map(_is_literal, v)),
    ),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), NAMED),
    "additionalProperties": SCHEMA,
    "additionalItems": SCHEMA,
    "items": ITEMS,
    **dict.fromkeys(("prefixItems", "anyOf", "oneOf", "allOf"), SCHEMAS),
    "required": ValueForm(f"a list of names of at most {MAX_NAME} characters", _are_names),
    "$ref": ValueForm(
        "a place in this schema, as in #/$defs/name", lambda v: isinstance(v, str) and v.startswith("#")
    ),
    "pattern": ValueForm(
        f"a text of at most {MAX_LITERAL} characters that does not end in a single backslash",
        lambda v: isinstance(v, str) and _is_literal(v) and is_whole(v),
    ),
    "format": ValueForm("a text", lambda v: isinstance(v, str)),
    **dict.fromkeys(("minimum", "maximum"), NUMBER),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), EXCLUSIVE),
    "multipleOf": ValueForm("a number above 0", lambda v: _is_number(v) and v > 0),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), COUNT
    ),
}


def check_schema(schema: dict[str, Any], param: str) -> None:
    """Raises CallerError (`invalid_request`, `unsupported_parameter`) naming the place in the schema."""
    pending: list[tuple[Any, str]] = [(schema, param)]
    # A reference may lead below an unknown keyword; a definition may have no reference to it.
    referred: list[tuple[Any, str]] = []
    checked: set[int] = set()
    properties = 0
    while pending or referred:
        node, at = (pending or referred).pop()
        if not isinstance(node, dict) or id(node) in checked:
            continue
        checked.add(id(node))
        _check_keywords(node, at)
        properties += len(node.get("properties", ()))
        if properties > MAX_PROPERTIES:
            raise invalid(param, f"names more than {MAX_PROPERTIES} properties")
        pending.extend(_children(node, at))
        if "$ref" in node:
            referred.append((_resolve(schema, node["$ref"]), render(["$ref"], at)))


def _check_keywords(node: dict[str, Any], at: str) -> None:
    """Check a schema's own keywords, not the schemas inside it."""
    for name, value in node.items():
        if _is_idle(name, node):
            continue
        if name in UNSUPPORTED:
            raise unsupported(render([name], at))
        form = KEYWORDS.get(name)
        if form is not None and not form.fits(value):
            raise invalid(render([name], at), f"should be {form.words}")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema closed to unnamed properties unless it says otherwise, without `nullable` and idle keywords.

    A value of this schema also fits the caller's. OpenAI has its callers close schemas, and Hugging Face's
    servers assume it: a caller that names properties wants these. A schema composed of parts stays open,
    because each part would forbid the others' properties.
    """
    copy: dict[str, Any] = json.loads(json.dumps(schema))
    nodes = list(_nodes(copy))
    composed = any(map(_is_composed, nodes))
    for node in nodes:
        for name in [name for name in node if _is_idle(name, node)]:
            del node[name]
        if not composed and "properties" in node and not node.keys() & OPENING:
            node["additionalProperties"] = False
        if node.pop("nullable", None) is True:
            _allow_null(node)
    return copy


def _allow_null(node: dict[str, Any]) -> None:
    """Write OpenAPI 3.0's `nullable` as JSON Schema does. No other keyword than these excludes null."""
    if types := node.get("type"):
        node["type"] = list(dict.fromkeys([*([types] if isinstance(types, str) else types), "null"]))
    parts = {name: node.pop(name) for name in ("const", "enum", *COMBINING) if name in node}
    if parts:
        node["anyOf"] = [parts, {"type": "null"}]


def _is_idle(name: str, node: dict[str, Any]) -> bool:
    """Whether generators write a keyword so that it constrains nothing: it is dropped, not refused."""
    value = node[name]
    if name == "format":
        return isinstance(value, str) and value not in FORMATS
    if name == "propertyNames":
        # zod writes that the names of a record are strings.
        return value is True or value in ({}, {"type": "string"})
    return name == "uniqueItems" and value is False


def _is_composed(node: dict[str, Any]) -> bool:
    own = node.get("properties", {}).keys()
    combined = "properties" in node and node.keys() & {*COMBINING}
    return len(node.get("allOf", ())) > 1 or bool(combined) or not own >= {*node.get("required", own)}


def _nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas in it, and those that references lead to, each once."""
    pending: list[Any] = [schema]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, dict) and id(node) not in seen:
            seen.add(id(node))
            yield node
            pending.extend(child for child, _ in _children(node, ""))
            pending.append(_resolve(schema, node["$ref"]) if "$ref" in node else None)


def _children(node: dict[str, Any], at: str) -> Iterator[tuple[Any, str]]:
    """The schemas directly inside this one, with their paths; its keywords must be well-formed."""
    for name, value in node.items():
        form = KEYWORDS.get(name)
        if form is NAMED:
            yield from ((child, render([name, key], at)) for key, child in value.items())
        elif form in (SCHEMAS, ITEMS) and isinstance(value, list):
            yield from ((child, render([name, place], at)) for place, child in enumerate(value))
        elif form in (SCHEMA, ITEMS):
            yield value, render([name], at)


def _resolve(root: Any, place: str) -> Any:
    """Return what a JSON pointer (RFC 6901) such as `#/$defs/name` refers to; None if it is nothing."""
    first, *steps = unquote(place.removeprefix("#")).split("/")
    # Otherwise it names an anchor.
    here = None if first else root
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list):
            here = here[int(name)] if _INDEX.fullmatch(name) and int(name) < len(here) else None
        else:
            here = here.get(name) if isinstance(here, dict) else None
    return here
