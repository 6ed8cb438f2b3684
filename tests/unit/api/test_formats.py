"""A format is read the same way from every API, and refused by the place where the caller wrote it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.dialects.formats import MAX_BYTES, MAX_CHOICES, to_schema
from api.dialects.json_schema import FORMATS, MAX_LITERAL, MAX_PROPERTIES
from api.dialects.openai.chat import from_chat
from shared.errors import CallerError
from shared.request import Format, Request
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.routes import Read, chat, hf, job, nested

ASK = [{"role": "user", "content": "Which?"}]
SCHEMA: dict[str, Any] = {
    "$defs": {"size": {"enum": ["large", "small", 3, None, {"a": [1.5]}]}},
    "type": "object",
    "title": "Thing",
    "properties": {
        "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 20, "pattern": "^[a-z]+$"},
        "size": {"$ref": "#/$defs/size", "description": "How large."},
        "at": {"type": "array", "prefixItems": [{"type": "number", "minimum": 0}], "items": False},
        "when": {"type": "string", "format": "date-time"},
        "part": {"anyOf": [{"const": "x"}, {"type": "integer", "multipleOf": 5, "exclusiveMaximum": 9}]},
        "more": {"type": "object", "additionalProperties": {"allOf": [True]}, "maxProperties": 3},
    },
    "required": ["size", "name"],
    "additionalProperties": False,
    "x-order": "kept",
}
TEXT = json.dumps(SCHEMA, separators=(",", ":"))
JSON, REGEX = Format(kind="json", content=TEXT), Format(kind="regex", content="[a-z]+")
CHOICE = Format(kind="choice", content='["a b","n\u00e9"]')
GRAMMAR = Format(kind="grammar", content="root ::= x")
ANY = Format(kind="json", content='{"type":"object"}')
OPENAI = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}


def schema_of(request: Request) -> Any:
    assert request.parameters.format is not None
    return json.loads(request.parameters.format.content)


ENVELOPED = {"name": "thing", "schema": SCHEMA}


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (OPENAI, JSON),
        ({"type": "json_object"}, ANY),
        ({"type": "json_object", "value": SCHEMA}, JSON),
        ({"type": "json_object", "schema": SCHEMA}, JSON),
        ({"type": "json", "value": SCHEMA}, JSON),
        ({"type": "json_schema", "schema": SCHEMA}, JSON),
        ({"type": "json_schema", "value": ENVELOPED}, JSON),
        ({"type": "regex", "value": "[a-z]+"}, REGEX),
        ({"type": "regex", "value": r"\(?=a"}, Format(kind="regex", content=r"\(?=a")),
        ({"type": "choice", "value": ["n\u00e9", "a b", "n\u00e9"]}, CHOICE),
    ],
)
def test_a_response_format_is_read_in_every_spelling(sent: Any, wanted: Format) -> None:
    request = chat(response_format=sent)
    assert (request.parameters.format, request.named["format"]) == (wanted, "response_format")


@pytest.mark.parametrize(
    ("read", "name", "sent", "wanted"),
    [
        (chat, "structured_outputs", {"json": TEXT}, JSON),
        (chat, "structured_outputs", {"regex": "[a-z]+"}, REGEX),
        (chat, "structured_outputs", {"choice": ["a b", "n\u00e9"]}, CHOICE),
        (chat, "structured_outputs", {"json_object": True, "regex": None}, ANY),
        (chat, "structured_outputs", {"grammar": "root ::= x"}, GRAMMAR),
        (chat, "structured_outputs", {"json": SCHEMA, "disable_any_whitespace": False}, JSON),
        (chat, "guided_json", SCHEMA, JSON),
        (chat, "guided_regex", "[a-z]+", REGEX),
        (chat, "guided_choice", ["n\u00e9", "a b"], CHOICE),
        (chat, "guided_grammar", "root ::= x", GRAMMAR),
        (chat, "ebnf", "root ::= x", GRAMMAR),
        (chat, "grammar", "root ::= x", GRAMMAR),
        (chat, "json_schema", SCHEMA, JSON),
        (job, "json_schema", TEXT, JSON),
        (chat, "grammar", {"type": "json", "value": SCHEMA}, JSON),
        (job, "guided_grammar", "root ::= x", GRAMMAR),
        (job, "response_format", OPENAI, JSON),
        (hf, "grammar", "root ::= x", GRAMMAR),
        (hf, "grammar", {"type": "json", "value": SCHEMA}, JSON),
        (hf, "grammar", {"type": "json", "value": TEXT}, JSON),
        (hf, "grammar", {"type": "regex", "value": "[a-z]+"}, REGEX),
        (hf, "grammar", {"type": "json_schema", "value": ENVELOPED}, JSON),
        (nested, "grammar", {"type": "json", "value": SCHEMA}, JSON),
    ],
)
def test_each_api_reads_a_format_under_its_own_name(read: Read, name: str, sent: Any, wanted: Format) -> None:
    request = read(**{name: sent})
    at = {job: "parameters.", hf: "parameters.", nested: "parameters.generate_kwargs."}.get(read, "")
    assert (request.parameters.format, request.named["format"]) == (wanted, at + name)


def test_any_text_is_no_format() -> None:
    assert chat(response_format={"type": "text"}).parameters.format is None
    assert chat(response_format=None).parameters.format is None
    assert chat(grammar="").parameters.format is None


def test_two_fields_that_both_name_a_format_must_agree() -> None:
    both = chat(response_format={"type": "json", "value": SCHEMA}, structured_outputs={"json": TEXT})
    assert both.parameters.format == JSON
    with pytest.raises(CallerError, match="contradicts `response_format`") as refused:
        chat(response_format={"type": "json_object"}, structured_outputs={"json": SCHEMA})
    assert refused.value.param == "structured_outputs"


OPEN = {"type": "object", "properties": {"a": True}}
CLOSED = OPEN | {"additionalProperties": False}
EMPTY = {"type": "object", "properties": {}}
WHOLE = {"type": "integer"}


def test_a_schema_of_properties_alone_is_one_of_an_object() -> None:
    """As Hugging Face's page writes them; anything that is no object would fit them too."""
    assert schema_of(hf(grammar={"type": "json", "value": {"properties": {"a": True}}})) == CLOSED


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (OPEN, CLOSED),
        ({"items": OPEN}, {"items": CLOSED}),
        ({"$defs": {"x": OPEN}}, {"$defs": {"x": CLOSED}}),
        ({"anyOf": [OPEN, True]}, {"anyOf": [CLOSED, True]}),
        (OPEN | {"additionalProperties": True},) * 2,
        (OPEN | {"patternProperties": {"b": True}},) * 2,
        (OPEN | {"required": ["b"]},) * 2,
        ({"allOf": [OPEN, {"properties": {"b": True}}]},) * 2,
        (OPEN | {"anyOf": [{"required": ["a"]}]},) * 2,
        ({"$defs": {"x": OPEN}, "$ref": "#/$defs/x", "properties": {"b": True}},) * 2,
        ({"type": "object"},) * 2,
        ({"const": {"properties": {"a": 1}}},) * 2,
        (EMPTY, EMPTY | {"additionalProperties": False}),
        (EMPTY | {"additionalProperties": WHOLE},) * 2,
        (EMPTY | {"$defs": {"x": OPEN}, "$ref": "#/$defs/x"},) * 2,
        ({"items": EMPTY}, {"items": EMPTY | {"additionalProperties": False}}),
    ],
)
def test_a_schema_of_properties_gets_no_others_unless_it_is_composed(schema: Any, closed: Any) -> None:
    assert schema_of(chat(response_format={"type": "json", "value": schema})) == closed


NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"type": "string"}, {"type": ["string", "null"]}),
        ({"type": ["string", "null"]},) * 2,
        (
            {"type": "string", "enum": ["a", None]},
            {"type": ["string", "null"], "anyOf": [{"enum": ["a", None]}, NULL]},
        ),
        ({"const": 1}, {"anyOf": [{"const": 1}, NULL]}),
        ({"anyOf": [WHOLE]}, {"anyOf": [{"anyOf": [WHOLE]}, NULL]}),
        ({"$ref": "#/$defs/x"}, {"anyOf": [{"$ref": "#/$defs/x"}, NULL]}),
        ({"description": "Anything."},) * 2,
    ],
)
def test_openapis_nullable_allows_null_at_any_depth(said: Any, meant: Any) -> None:
    def around(node: Any) -> Any:
        return {"$defs": {"x": WHOLE}, "items": {"properties": {"a": node}, "additionalProperties": True}}

    for given in (said | {"nullable": True}, said):
        wanted = chat(response_format={"type": "json", "value": around(given)})
        assert schema_of(wanted) == around(meant if "nullable" in given else said)


MANY = {"type": "json_schema", "schema": {"properties": {str(n): True for n in range(MAX_PROPERTIES + 1)}}}


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (MANY, "schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}, "value": "x"}, "value"),
        ({"type": "text", "value": "x"}, "value"),
        ({"type": "json_object", "schema": {}, "value": {}}, "value"),
        ({"type": "json_schema", "schema": {}, "json_schema": {"schema": {}}}, "schema"),
        ({"type": "json_object", "schema": {"type": "thing"}}, "schema.type"),
        ({"type": "regex", "json_schema": {"schema": {}}, "value": "x"}, "json_schema"),
        ({"type": "json"}, "value"),
        ({"type": "json", "value": "{"}, "value"),
        ({"type": "json", "value": "[]"}, "value"),
        ({"type": "json", "value": "[" * 100_000}, "value"),
        ({"type": "json", "value": {"title": "\u00e9" * (MAX_BYTES // 2)}}, "value"),
        ({"type": "regex", "value": ""}, "value"),
        ({"type": "regex", "value": {}}, "value"),
        ({"type": "regex", "value": "a\\"}, "value"),
        ({"type": "regex", "value": "a\\\\\\"}, "value"),
        ({"type": "regex", "value": "a" * (MAX_LITERAL + 1)}, "value"),
        ({"type": "choice", "value": []}, "value"),
        ({"type": "choice", "value": "ab"}, "value"),
        ({"type": "choice", "value": ["a", ""]}, "value"),
        ({"type": "choice", "value": [str(n) for n in range(MAX_CHOICES + 1)]}, "value"),
        ({"type": "choice", "value": [str(n).zfill(256) for n in range(MAX_CHOICES)]}, "value"),
    ],
)
def test_a_malformed_format_is_refused_before_it_is_queued(wanted: Any, param: str) -> None:
    assert refusal(chat, response_format=wanted) == ("invalid_request", f"response_format.{param}")


AT = "response_format.json_schema.schema."


def array(change: dict[str, Any]) -> Any:
    return {"type": "json_schema", "json_schema": {"schema": {"type": "array", **change}}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": ["string", "text"]}, "type"),
        ({"type": ["object", "object"]}, "type"),
        ({"properties": {"a" * 257: True}}, "properties"),
        ({"anyOf": [{"enum": []}]}, "anyOf[0].enum"),
        ({"enum": ["x" * MAX_LITERAL]}, "enum"),
        ({"const": ["x" * MAX_LITERAL]}, "const"),
        ({"pattern": "x" * MAX_LITERAL}, "pattern"),
        ({"$ref": "https://example.org/schema"}, "$ref"),
        ({"items": {"minLength": 2**53}}, "items.minLength"),
        ({"maxItems": 1.5}, "maxItems"),
        ({"items": {"exclusiveMaximum": -(10**400)}}, "items.exclusiveMaximum"),
        ({"pattern": "a\\"}, "pattern"),
        ({"$schema": 7}, "$schema"),
    ],
)
def test_a_schema_that_is_none_is_refused_with_the_place_in_it(change: dict[str, Any], place: str) -> None:
    assert refusal(chat, response_format=array(change)) == ("invalid_request", AT + place)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"items": [True, {"not": {}}]}, "items[1].not"),
        ({"items": {"uniqueItems": True}}, "items.uniqueItems"),
        ({"if": True}, "if"),
        ({"$defs": {"a": {"propertyNames": {"a": 3}}}}, "$defs.a.propertyNames"),
        ({"uniqueItems": 0}, "uniqueItems"),
        ({"contains": True, "minContains": 0}, "contains"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ],
)
def test_what_no_answer_can_be_held_to_is_refused_with_its_place(change: dict[str, Any], place: str) -> None:
    assert refusal(chat, response_format=array(change)) == ("unsupported_parameter", AT + place)


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": -(2**53), "exclusiveMaximum": 2**53},
        {"multipleOf": 0.01},
        {"minimum": 0, "exclusiveMinimum": True},
        {"uniqueItems": False},
        {"propertyNames": {"type": "string"}, "minProperties": 1},
        {"pattern": "a\\\\"},
        {"x-not": {"not": 5}, "default": {"type": 5}, "enum": [{"not": 1, "type": 2}], "nullable": "maybe"},
    ],
)
def test_what_an_answer_can_be_held_to_and_what_is_unknown_is_not_refused(schema: dict[str, Any]) -> None:
    assert chat(response_format={"type": "json", "value": schema}).parameters.format is not None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": ASK, "response_format": OPENAI},
        {"messages": ASK, "structured_outputs": {"choice": ["a", "b"]}},
    ],
)
def test_a_broken_format_is_a_callers_error_that_says_where(body: dict[str, Any]) -> None:
    assert len(refusals(from_chat, body)) > 40


@pytest.mark.parametrize("name", ["uuid4", "path", "ipvanyaddress", "decimal", "int32", "starts_with", "jwt"])
@pytest.mark.parametrize("node", [{"type": "string"}, {"type": ["integer", "null"]}, {"pattern": "^a"}, {}])
def test_a_format_that_no_answer_is_held_to_is_an_annotation(name: str, node: dict[str, Any]) -> None:
    assert json.loads(to_schema({**node, "format": name}, "schema")) == node


def test_the_page_names_the_formats_that_a_refusal_names() -> None:
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    listed = page.partition("`format` may be ")[2].partition(".")[0]
    assert {*FORMATS} <= {*re.findall(r"[a-z0-9-]+", listed)}


@pytest.mark.parametrize(
    "wanted",
    [{}, {"json": SCHEMA, "regex": "a"}, {"regex": "a", "grammar": "root ::= x"}, {"json_object": False}],
)
def test_structured_outputs_name_one_format(wanted: Any) -> None:
    assert refusal(chat, structured_outputs=wanted)[1] == "structured_outputs"
