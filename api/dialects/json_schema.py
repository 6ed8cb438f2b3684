"""Checks a caller's JSON Schema before it is queued: its size, its keywords' form, what is not supported.

Draft 2020-12 and the older forms that generators still write. The worker finds what only a compiler can
(contradictions, references that lead nowhere, patterns). Keywords not named here mean nothing, as the
specification says."""

import json
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, NamedTuple

from api.dialects import json_patterns
from api.dialects.strict_json import invalid, render, unsupported
from shared.json_pointer import found

# Which numbers of a JSON Schema an answer can be held to: llguidance misreads or refuses the others.

# Larger whole numbers change: llguidance computes with doubles.
MAX_WHOLE = 2**53
# Fractions are read with fifteen digits, and rounded beyond that.
MAX_FRACTION = 10**14
# The time to compile a factor grows with its digits, zeros at either end not counted.
MAX_FACTOR_DIGITS = 3
MIN_FACTOR, MAX_FACTOR = 1e-9, 10**9
# Factors are kept as whole numbers of 32 bits with a power of ten below them.
WHOLE_FACTORS = 2**32

BOUND = f"a number from -{MAX_WHOLE} to {MAX_WHOLE}, a whole one beyond {MAX_FRACTION} either way"
FACTOR_FORM = (
    f"a number from {MIN_FACTOR} to {MAX_FACTOR} of {MAX_FACTOR_DIGITS} digits at most beside zeros; "
    "some fractions, such as 0.07, cannot be used: choose another, or a pattern"
)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_bound(value: Any) -> bool:
    return is_number(value) and abs(value) <= MAX_WHOLE and (value % 1 == 0 or abs(value) < MAX_FRACTION)


def is_factor(value: Any) -> bool:
    in_range = is_number(value) and MIN_FACTOR <= value <= MAX_FACTOR
    return in_range and _digits(value) <= MAX_FACTOR_DIGITS and _is_read(value)


def _digits(value: float) -> int:
    return len(Decimal(str(value)).normalize().as_tuple().digits)


def _is_read(factor: float) -> bool:
    """llguidance multiplies the double by ten until it is whole, and 0.07 has sixteen digits then."""
    while factor % 1:
        factor *= 10
    return factor < WHOLE_FACTORS


# Finds references of a JSON Schema that lead round in a ring.
#
# A reference may lead to another, and so on. A ring of references alone describes no value: an answer that
# began one could not go on.


class References:
    """The references of one schema, which need not have been checked."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # Schemas known to lead to an end, by identity: the schema is not changed meanwhile.
        self._ending: set[int] = set()

    def in_ring(self, schema: dict[str, Any]) -> bool:
        """Whether following the references from this schema never ends."""
        here: Any = schema
        passed: set[int] = set()
        while isinstance(here, dict) and id(here) not in self._ending:
            if id(here) in passed:
                return True
            passed.add(id(here))
            here = self._next(here)
        self._ending |= passed
        return False

    def _next(self, schema: dict[str, Any]) -> Any:
        """The schema that stands for this one: what it refers to, or its only part."""
        if isinstance(place := schema.get("$ref"), str):
            return found(self._root, place)
        parts = (schema.get(name) for name in ("allOf", "anyOf", "oneOf"))
        return next((part[0] for part in parts if isinstance(part, list) and len(part) == 1), None)


# `propertyNames` that lists the names, as generators write a map whose keys are an enum: each is a property.
#
# zod's `record(z.enum(…), …)` and Pydantic's `dict[Literal[…], …]` do so.

MAX_NAME = 256
MAX_PROPERTIES = 1000
# Each property has a copy of what the map says of all its values. The most text of one map's copies.
MAX_COPIES = 2**16
NOTES = ("title", "description")
ANY_TEXT: tuple[dict[str, Any], ...] = ({}, {"type": "string"})
"""What `propertyNames` may say that asks for nothing: every name is a text."""
_INTO_A_MAP = re.compile(r'"\$ref": "[^"]*/(?:additionalProperties|propertyNames)')


class Names:
    """The names that the maps of one schema list."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        # What a reference leads to stays where it is.
        self._fixed = "propertyNames" in (text := json.dumps(schema)) and bool(_INTO_A_MAP.search(text))

    def of(self, node: dict[str, Any]) -> list[str]:
        """A map's names if they can be spelled out as properties, else none."""
        values = self._values(node.get("propertyNames"))
        if not 0 < len(values) <= MAX_PROPERTIES or self._fixed or "patternProperties" in node:
            return []
        if not all(isinstance(value, str) and len(value) <= MAX_NAME for value in values):
            return []
        own, others = node.get("properties", {}), node.get("additionalProperties")
        known = isinstance(own, dict) and own.keys() <= {*values} and len({*values}) == len(values)
        # Copies of copies would be as many as the names of both, multiplied.
        fits = known and not _has_map(others) and len(values) * len(json.dumps(others)) <= MAX_COPIES
        return values if fits else []

    def spell_out(self, node: dict[str, Any]) -> None:
        """Say the same in words that answers are held to."""
        if names := self.of(node):
            own, others = node.get("properties", {}), node.get("additionalProperties", True)
            node["properties"] = {name: own.get(name, others) for name in names}
            node["additionalProperties"] = False
            del node["propertyNames"]

    def _values(self, names: Any) -> list[Any]:
        if isinstance(names, dict) and names.keys() == {"$ref"} and isinstance(names["$ref"], str):
            names = found(self._schema, names["$ref"])
        if not isinstance(names, dict) or names.get("type", "string") != "string":
            return []
        if names.keys() <= {"type", "const", *NOTES}:
            return [names["const"]] if "const" in names else []
        listed = names.get("enum") if names.keys() <= {"type", "enum", *NOTES} else None
        return listed if isinstance(listed, list) else []


def _has_map(value: Any) -> bool:
    """Whether some map inside it names its keys, or may."""
    left = [value]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            if here.get("propertyNames", True) is not True and here["propertyNames"] not in ANY_TEXT:
                return True
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)
    return False


# Each token of an answer costs time in proportion to the literal or pattern it is in.
MAX_LITERAL = 4096
# More characters, items or properties than any answer has.
MAX_COUNT = 2**31

# Formats of texts that answers are held to; OpenAPI's number formats, which do not restrict the text.
HINTS = ("int32", "int64", "float", "double", "password")
"""Formats of OpenAPI that say how a value is kept or shown, and nothing of what it is."""
FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
    *HINTS,
)
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
# Answers cannot be held to these, so a schema with them is refused.
NOT_HELD = frozenset(
    {
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems"),
        *("dependentRequired", "dependentSchemas", "dependencies", "propertyNames", "unevaluatedItems"),
        *("unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
    }
)

DEFINITIONS = ("$defs", "definitions")
# Keywords that say whether properties other than the named ones may occur.
OTHERS = frozenset({"additionalProperties", "patternProperties"})
LEAST, MOST = ("minLength", "minItems", "minProperties"), ("maxLength", "maxItems", "maxProperties")

# Values with which a keyword asks for nothing.
IDLE: dict[str, Callable[[Any], bool]] = {
    "uniqueItems": lambda v: v is False,
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "dependencies"), lambda v: v == {}),
    **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties"), lambda v: v is True or v == {}),
    # zod writes of every record that its names are texts.
    "propertyNames": lambda v: v is True or v in ANY_TEXT,
    **dict.fromkeys(MOST, lambda v: type(v) is int and v > MAX_COUNT),
}


class ValueForm(NamedTuple):
    """The form of a keyword's value, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and len(item) <= MAX_NAME for item in value)


def _types(value: Any) -> bool:
    """Each type once: a schema's keywords for a type are processed as often as the type is listed."""
    if isinstance(value, str):
        return value in TYPES
    return _names(value) and set(value) <= set(TYPES) and len(set(value)) == len(value)


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(len(k) <= MAX_NAME and _schema(v) for k, v in value.items())


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_schema, value))


def _patterned(value: Any) -> bool:
    return _named(value) and all(map(is_whole, value))


def is_whole(pattern: str) -> bool:
    """Whether it ends in no lone backslash, which would escape what the compiler puts after it."""
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 0


def _literal(value: Any) -> bool:
    return len(json.dumps(value, ensure_ascii=False)) <= MAX_LITERAL


SCHEMA = ValueForm("a JSON Schema: an object, true or false", _schema)
SCHEMAS = ValueForm("a list of JSON Schemas", _schemas)
NAMED = ValueForm(f"an object of JSON Schemas, names of at most {MAX_NAME} characters", _named)
PATTERNED = ValueForm(f"{NAMED.words}, none of which ends in a single backslash", _patterned)
ITEMS = ValueForm("a JSON Schema, or a list of them", lambda v: _schema(v) or _schemas(v))
COUNT = ValueForm(f"a whole number from 0 to {MAX_COUNT}", lambda v: type(v) is int and 0 <= v <= MAX_COUNT)
NUMBER = ValueForm(BOUND, is_bound)
FACTOR = ValueForm(FACTOR_FORM, is_factor)
LIMIT = ValueForm(NUMBER.words, lambda v: NUMBER.fits(v) or isinstance(v, bool))
TEXT = ValueForm("a text", lambda v: isinstance(v, str))

KEYWORDS: dict[str, ValueForm] = {
    "type": ValueForm(f"one of {', '.join(TYPES)}, or a list of them, each once", _types),
    "const": ValueForm(f"a value of at most {MAX_LITERAL} characters", _literal),
    "enum": ValueForm(
        f"a list with at least one value, each of at most {MAX_LITERAL} characters",
        lambda v: isinstance(v, list) and bool(v) and all(map(_literal, v)),
    ),
    "properties": NAMED,
    "patternProperties": PATTERNED,
    **dict.fromkeys(DEFINITIONS, NAMED),
    "additionalProperties": SCHEMA,
    "additionalItems": SCHEMA,
    "items": ITEMS,
    "prefixItems": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": SCHEMAS,
    "allOf": SCHEMAS,
    "required": ValueForm(f"a list of names of at most {MAX_NAME} characters", _names),
    "$ref": ValueForm(
        "a place in this schema, as in #/$defs/name", lambda v: TEXT.fits(v) and v.startswith("#")
    ),
    "pattern": ValueForm(
        f"a text of at most {MAX_LITERAL} characters that does not end in a single backslash",
        lambda v: TEXT.fits(v) and _literal(v) and is_whole(v),
    ),
    "format": ValueForm(f"one of {', '.join(FORMATS)}, or any beside a `pattern`", lambda v: v in FORMATS),
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": LIMIT,
    "exclusiveMaximum": LIMIT,
    "multipleOf": FACTOR,
    **dict.fromkeys(LEAST + MOST, COUNT),
}


def check_schema(schema: dict[str, Any], param: str) -> None:
    """Raises CallerError (`invalid_request`, `unsupported_parameter`) naming the place in the schema."""
    left: list[tuple[Any, str]] = [(schema, param)]
    # A reference may lead below an unknown keyword; a definition may have no reference to it.
    named: list[tuple[Any, str]] = []
    references, maps = References(schema), Names(schema)
    unheld, parts = json_patterns.unheld(schema), json_patterns.Parts(schema)
    seen: dict[int, str] = {}
    properties = 0
    while left or named:
        here, at = (left or named).pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen[id(here)] = at
        names = maps.of(here)
        if word := next((name for name in here if name in unheld), None):
            raise unsupported(render([word], at))
        _check_node(here, at, but={"propertyNames"} if names else set())
        if references.in_ring(here):
            raise invalid(at, "leads back to itself, and describes no value")
        properties += len(names or here.get("properties", ()))
        if properties > MAX_PROPERTIES:
            raise invalid(param, f"names more than {MAX_PROPERTIES} properties")
        below = [*_below(here, at)]
        left.extend(below)
        apart = parts.has(here, (inner for inner, _ in below))
        if apart and (place := json_patterns.reference(here)):
            raise invalid(render(place, at), "is in a part with an `$id` of its own; leave the `$id` out")
        if "$ref" in here:
            named.append((found(schema, here["$ref"]), render(["$ref"], at)))
    for here in _nodes(schema, without=DEFINITIONS):
        json_patterns.check(here, seen[id(here)])


def _check_node(schema: dict[str, Any], at: str, but: AbstractSet[str]) -> None:
    """Check a schema's own keywords, not the schemas inside it."""
    for name, value in schema.items():
        if name not in but and not _idle(name, schema):
            _check_keyword(name, value, render([name], at))
    if schema.get("minProperties", 0) > len({*schema.get("required", ())}):
        # An answer could reach the count by repeating a name, which counts as two.
        raise unsupported(render(["minProperties"], at))


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without look-aheads and idle keywords, and closed to unnamed properties unless it says else.

    A value of this schema also fits the caller's. OpenAI has its callers close schemas, and Hugging Face's
    servers assume it: a caller who names properties wants these. A schema composed of parts stays open,
    because each part would forbid the others' properties.
    """
    copy: dict[str, Any] = json.loads(json.dumps(schema))
    nodes, maps = list(_nodes(copy)), Names(copy)
    for node in nodes:
        idle = [name for name in node if _idle(name, node)]
        if "unevaluatedProperties" in idle and node.get("properties"):
            # A caller who says so wants other properties too.
            node.setdefault("additionalProperties", True)
        for name in idle:
            del node[name]
        maps.spell_out(node)
    json_patterns.settle(copy, nodes)
    composed = any(map(_composed, nodes))
    for node in nodes:
        if not composed and node.get("properties") and not node.keys() & OTHERS:
            node["additionalProperties"] = False
        json_patterns.translate(node)
    return copy


def _idle(name: str, schema: dict[str, Any]) -> bool:
    """Whether a keyword asks for nothing: it need not be refused, and is dropped."""
    if name in ("minContains", "maxContains"):
        return "contains" not in schema
    if name == "format":
        return _annotates(schema)
    return name in IDLE and IDLE[name](schema[name])


def _annotates(schema: dict[str, Any]) -> bool:
    """Whether its format is a hint, or only names what its patterns say.

    JSON Schema allows the latter for unknown formats.
    """
    name, parts = schema["format"], schema.get("allOf")
    if name in HINTS:
        return True
    beside = [schema, *parts] if isinstance(parts, list) else [schema]
    patterned = any(isinstance(part, dict) and "pattern" in part for part in beside)
    return patterned and isinstance(name, str) and name not in FORMATS


def _composed(node: dict[str, Any]) -> bool:
    own = node.get("properties", {}).keys()
    beside = node.keys() & {"$ref", "allOf", "anyOf", "oneOf"}
    return len(node.get("allOf", ())) > 1 or bool(own and beside) or not own >= {*node.get("required", own)}


def _nodes(schema: dict[str, Any], without: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """The schemas in it, each once; below the keywords `without` only those that references lead to."""
    left: list[Any] = [schema]
    seen: set[int] = set()
    while left:
        here = left.pop()
        if isinstance(here, dict) and id(here) not in seen:
            seen.add(id(here))
            yield here
            said = {name: value for name, value in here.items() if name not in without}
            left.extend(inner for inner, _ in _below(said, ""))
            left.append(found(schema, here["$ref"]) if "$ref" in here else None)


def _check_keyword(name: str, value: Any, at: str) -> None:
    if name in NOT_HELD:
        raise unsupported(at)
    form = KEYWORDS.get(name)
    if form is not None and not form.fits(value):
        raise invalid(at, f"should be {form.words}")
    if name in ("const", "enum"):
        _check_whole(value, at)


def _check_whole(value: Any, at: str) -> None:
    left = [(value, at)]
    while left:
        here, at = left.pop()
        if isinstance(here, dict | list):
            inside = here.items() if isinstance(here, dict) else enumerate(here)
            left.extend((inner, render([place], at)) for place, inner in inside)
        elif is_number(here) and abs(here) > MAX_WHOLE:
            raise invalid(at, f"is a whole number beyond {MAX_WHOLE}; answers cannot be held to it")


def _below(schema: dict[str, Any], at: str) -> Iterator[tuple[Any, str]]:
    """The schemas directly inside this one, with their paths; its keywords must be well-formed."""
    for name, value in schema.items():
        form = KEYWORDS.get(name)
        if form in (NAMED, PATTERNED):
            yield from ((inner, render([name, key], at)) for key, inner in value.items())
        elif form in (SCHEMAS, ITEMS) and isinstance(value, list):
            yield from ((inner, render([name, place], at)) for place, inner in enumerate(value))
        elif form in (SCHEMA, ITEMS):
            yield value, render([name], at)
