"""A format is read the same way from every API, and refused by the place where the caller wrote it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.dialects.formats import MAX_BYTES, MAX_CHOICES, to_schema
from api.dialects.hf.task_requests import from_hf
from api.dialects.json_schema import FORMATS, MAX_LITERAL, MAX_PROPERTIES
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from api.dialects.openai.completions import from_completion
from shared.cache_key import request_hash
from shared.errors import CallerError
from shared.request import Format, Request
from tests.support.mutations import refusals
from tests.support.refusal import refusal

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
JSON, REGEX, CHOICE = (
    Format(kind="json", content=TEXT),
    Format(kind="regex", content="[a-z]+"),
    Format(kind="choice", content='["a b","n\u00e9"]'),
)
GRAMMAR = Format(kind="grammar", content="root ::= x")
ANY = Format(kind="json", content='{"type":"object"}')
OPENAI = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}


def chat(**fields: Any) -> Request:
    return from_chat({"messages": ASK, **fields}).request


def completion(**fields: Any) -> Request:
    return from_completion({"prompt": "Which?", **fields}).request


def job(**parameters: Any) -> Request:
    return from_job({"messages": ASK, "parameters": parameters}).request


def hf(**parameters: Any) -> Request:
    return from_hf({"inputs": "Which?", "parameters": parameters}).request


@pytest.mark.parametrize(
    ("request_", "wanted", "param"),
    [
        (chat(response_format=OPENAI), JSON, "response_format"),
        (chat(response_format={"type": "json_object"}), ANY, "response_format"),
        (chat(response_format={"type": "json_object", "value": SCHEMA}), JSON, "response_format"),
        (chat(response_format={"type": "json_object", "schema": SCHEMA}), JSON, "response_format"),
        (chat(response_format={"type": "json", "value": SCHEMA}), JSON, "response_format"),
        (chat(response_format={"type": "json_schema", "schema": SCHEMA}), JSON, "response_format"),
        (
            chat(response_format={"type": "json_schema", "value": {"name": "thing", "schema": SCHEMA}}),
            JSON,
            "response_format",
        ),
        (chat(response_format={"type": "regex", "value": "[a-z]+"}), REGEX, "response_format"),
        (
            chat(response_format={"type": "choice", "value": ["n\u00e9", "a b", "n\u00e9"]}),
            CHOICE,
            "response_format",
        ),
        (chat(structured_outputs={"json": SCHEMA}), JSON, "structured_outputs"),
        (chat(structured_outputs={"json": TEXT}), JSON, "structured_outputs"),
        (chat(structured_outputs={"regex": "[a-z]+"}), REGEX, "structured_outputs"),
        (chat(structured_outputs={"choice": ["a b", "n\u00e9"]}), CHOICE, "structured_outputs"),
        (chat(structured_outputs={"json_object": True, "regex": None}), ANY, "structured_outputs"),
        (chat(structured_outputs={"grammar": "root ::= x"}), GRAMMAR, "structured_outputs"),
        (chat(guided_json=SCHEMA), JSON, "guided_json"),
        (chat(guided_regex="[a-z]+"), REGEX, "guided_regex"),
        (chat(guided_choice=["n\u00e9", "a b"]), CHOICE, "guided_choice"),
        (chat(guided_grammar="root ::= x"), GRAMMAR, "guided_grammar"),
        (chat(regex="[a-z]+"), REGEX, "regex"),
        (chat(ebnf="root ::= x"), GRAMMAR, "ebnf"),
        (chat(grammar="root ::= x"), GRAMMAR, "grammar"),
        (chat(json_schema=SCHEMA), JSON, "json_schema"),
        (hf(grammar="root ::= x"), GRAMMAR, "parameters.grammar"),
        (completion(json_schema=TEXT), JSON, "json_schema"),
        (job(guided_grammar="root ::= x"), GRAMMAR, "parameters.guided_grammar"),
        (completion(response_format=OPENAI), JSON, "response_format"),
        (completion(grammar={"type": "json", "value": SCHEMA}), JSON, "grammar"),
        (job(response_format=OPENAI), JSON, "parameters.response_format"),
        (hf(grammar={"type": "json", "value": SCHEMA}), JSON, "parameters.grammar"),
        (hf(grammar={"type": "json_object", "value": SCHEMA}), JSON, "parameters.grammar"),
        (hf(grammar={"type": "json", "value": TEXT}), JSON, "parameters.grammar"),
        (hf(grammar={"type": "regex", "value": "[a-z]+"}), REGEX, "parameters.grammar"),
        (
            hf(grammar={"type": "json_schema", "value": {"name": "thing", "schema": SCHEMA}}),
            JSON,
            "parameters.grammar",
        ),
        (
            hf(generate_kwargs={"grammar": {"type": "json", "value": SCHEMA}}),
            JSON,
            "parameters.generate_kwargs.grammar",
        ),
    ],
)
def test_each_api_reads_a_format_under_its_own_name(request_: Request, wanted: Format, param: str) -> None:
    assert request_.parameters.format == wanted
    assert request_.named["format"] == param


def test_any_text_is_no_format() -> None:
    assert chat(response_format={"type": "text"}).parameters.format is None
    assert chat(response_format=None).parameters.format is None
    assert completion(grammar="").parameters.format is None


def test_two_fields_that_both_name_a_format_must_agree() -> None:
    both = chat(response_format={"type": "json", "value": SCHEMA}, structured_outputs={"json": TEXT})
    assert both.parameters.format == JSON
    with pytest.raises(CallerError, match="contradicts `response_format`") as refused:
        chat(response_format={"type": "json_object"}, structured_outputs={"json": SCHEMA})
    assert refused.value.param == "structured_outputs"


def test_equal_formats_share_a_hash_and_the_order_of_properties_makes_another() -> None:
    turned = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}
    hashes = [
        request_hash(request, "main")
        for request in (
            chat(response_format=OPENAI),
            job(response_format=OPENAI),
            chat(response_format={"type": "json", "value": turned}),
            chat(),
        )
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_schema_of_properties_alone_is_one_of_an_object() -> None:
    """As Hugging Face's page writes them; anything that is no object would fit them too."""
    parameters = hf(grammar={"type": "json", "value": {"properties": {"a": True}}}).parameters
    assert parameters.format is not None
    assert json.loads(parameters.format.content)["type"] == "object"


PART = {"type": "object", "properties": {"a": True}}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (PART, {**PART, "additionalProperties": False}),
        ({"items": PART}, {"items": {**PART, "additionalProperties": False}}),
        ({"$defs": {"x": PART}}, {"$defs": {"x": {**PART, "additionalProperties": False}}}),
        ({"anyOf": [PART, True]}, {"anyOf": [{**PART, "additionalProperties": False}, True]}),
        ({**PART, "additionalProperties": True}, {**PART, "additionalProperties": True}),
        ({**PART, "patternProperties": {"b": True}}, {**PART, "patternProperties": {"b": True}}),
        ({**PART, "required": ["b"]}, {**PART, "required": ["b"]}),
        ({"allOf": [PART, {"properties": {"b": True}}]}, {"allOf": [PART, {"properties": {"b": True}}]}),
        ({**PART, "anyOf": [{"required": ["a"]}]}, {**PART, "anyOf": [{"required": ["a"]}]}),
        ({"$defs": {"x": PART}, "$ref": "#/$defs/x", "properties": {"b": True}},) * 2,
        ({"type": "object"}, {"type": "object"}),
        ({"const": {"properties": {"a": 1}}}, {"const": {"properties": {"a": 1}}}),
    ],
)
def test_a_schema_that_names_properties_gets_no_others_unless_it_is_composed(
    schema: Any, closed: Any
) -> None:
    parameters = chat(response_format={"type": "json", "value": schema}).parameters
    assert parameters.format is not None
    assert json.loads(parameters.format.content) == closed


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"type": "xml"}, "type"),
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": []}}, "json_schema.schema"),
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


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"type": "text"}, "invalid_request", "type"),
        ({"type": ["string", "text"]}, "invalid_request", "type"),
        ({"type": ["object", "object"]}, "invalid_request", "type"),
        ({"properties": []}, "invalid_request", "properties"),
        ({"properties": {"a": {"type": "strin"}}}, "invalid_request", "properties.a.type"),
        ({"properties": {"a" * 257: True}}, "invalid_request", "properties"),
        ({"properties": {str(n): True for n in range(MAX_PROPERTIES + 1)}}, "invalid_request", ""),
        ({"items": 5}, "invalid_request", "items"),
        ({"items": [True, {"not": {}}]}, "unsupported_parameter", "items[1].not"),
        ({"anyOf": []}, "invalid_request", "anyOf"),
        ({"anyOf": [{"enum": []}]}, "invalid_request", "anyOf[0].enum"),
        ({"enum": ["x" * MAX_LITERAL]}, "invalid_request", "enum"),
        ({"const": ["x" * MAX_LITERAL]}, "invalid_request", "const"),
        ({"pattern": "x" * MAX_LITERAL}, "invalid_request", "pattern"),
        ({"required": [1]}, "invalid_request", "required"),
        ({"$ref": "https://example.org/schema"}, "invalid_request", "$ref"),
        ({"minLength": -1}, "invalid_request", "minLength"),
        ({"items": {"minLength": 2**53}}, "invalid_request", "items.minLength"),
        ({"maxItems": 1.5}, "invalid_request", "maxItems"),
        ({"minimum": "1"}, "invalid_request", "minimum"),
        ({"multipleOf": 0}, "invalid_request", "multipleOf"),
        ({"items": {"exclusiveMaximum": -(10**400)}}, "invalid_request", "items.exclusiveMaximum"),
        ({"pattern": "a\\"}, "invalid_request", "pattern"),
        ({"$schema": 7}, "invalid_request", "$schema"),
        ({"format": 5}, "invalid_request", "format"),
        ({"items": {"uniqueItems": True}}, "unsupported_parameter", "items.uniqueItems"),
        ({"if": True}, "unsupported_parameter", "if"),
        ({"$defs": {"a": {"propertyNames": {"a": 3}}}}, "unsupported_parameter", "$defs.a.propertyNames"),
        ({"uniqueItems": 0}, "unsupported_parameter", "uniqueItems"),
        ({"contains": True, "minContains": 0}, "unsupported_parameter", "contains"),
        ({"dependentRequired": {"a": ["b"]}}, "unsupported_parameter", "dependentRequired"),
        ({"unevaluatedProperties": False}, "unsupported_parameter", "unevaluatedProperties"),
    ],
)
def test_a_schema_that_answers_cannot_be_held_to_is_refused_with_the_place_in_it(
    change: dict[str, Any], code: str, place: str
) -> None:
    with pytest.raises(CallerError) as refused:
        chat(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "array", **change}}})
    at = "response_format.json_schema.schema"
    assert (refused.value.code, refused.value.param) == (code, f"{at}.{place}" if place else at)


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": -(2**53), "exclusiveMaximum": 2**53},
        {"multipleOf": 0.01},
        {"minimum": 0, "exclusiveMinimum": True},
        {"uniqueItems": False},
        {"propertyNames": {"type": "string"}, "minProperties": 1},
        {"pattern": "a\\\\"},
    ],
)
def test_what_an_answer_can_be_held_to_is_not_refused(schema: dict[str, Any]) -> None:
    assert chat(response_format={"type": "json", "value": schema}).parameters.format is not None
    assert chat(response_format={"type": "regex", "value": "a\\\\"}).parameters.format is not None


def test_an_unknown_keyword_is_ignored() -> None:
    odd = {"x-not": {"not": 5}, "default": {"type": 5}, "enum": [{"not": 1, "type": 2}], "nullable": "maybe"}
    assert chat(response_format={"type": "json", "value": odd}).parameters.format is not None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": ASK, "response_format": OPENAI},
        {"messages": ASK, "structured_outputs": {"choice": ["a", "b"]}},
    ],
)
def test_a_broken_format_is_a_callers_error_that_says_where(body: dict[str, Any]) -> None:
    errors = refusals(from_chat, body)
    assert len(errors) > 40
    assert all(error.message and len(error.message) < 500 for error in errors)


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
    with pytest.raises(CallerError) as refused:
        chat(structured_outputs=wanted)
    assert refused.value.param == "structured_outputs"


def test_vllm_s_own_object_with_its_defaults_is_the_format_it_names() -> None:
    whole = {"json": SCHEMA, "regex": None, "grammar": None, "disable_any_whitespace": False}
    assert chat(structured_outputs=whole).parameters.format == JSON
