"""Grammars and the check of a finished answer hold it to what its schema means, in bounded time."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from llguidance import LLMatcher
from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from api.dialects.formats import to_schema
from tests.engines.suite import refused
from tests.support.grammars import accepted_by
from worker.engines.grammar import answer_check
from worker.engines.grammar.answer_check import TOO_COMPLEX, mismatch
from worker.engines.grammar.compiler import SPACING
from worker.engines.grammar.lark import json_schema

DRAFT_4, DRAFT_7 = (f"http://json-schema.org/draft-0{number}/schema#" for number in (4, 7))
LETTERS = r"^(?!\.)(?!.*\.\.)[a-z.]+$"


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"multipleOf": 0.1, "maximum": 0.95}, ["0.3", "0.9", "-0.30", "-7"], ["0.35", "1"]),
        ({"multipleOf": 0.01}, ["19.99", "1.005e2"], ["19.995"]),
        ({"enum": [0.5, 1]}, ["0.50", "1.0"], ["true", "0.55"]),
        ({"const": 2**53 + 1}, [str(2**53 + 1)], [str(2**53)]),
        ({"minimum": 0, "exclusiveMinimum": True, "$schema": DRAFT_4}, ["0.1"], ["0"]),
        ({"minimum": 0, "exclusiveMinimum": True}, ["0", "0.5"], ["-1"]),
        ({"items": [{"type": "string"}]}, ['["a", 1]', "[]", "{}"], ["[1]"]),
        ({"items": [True], "additionalItems": False, "$schema": DRAFT_7}, ["[1]"], ["[1, 2]"]),
        ({"prefixItems": [True], "items": False}, ["[1]"], ["[1, 2]"]),
        ({"type": "string", "format": "email", "pattern": LETTERS}, ['"a.b"'], ['"a..b"', '".a"']),
        ({"pattern": r"^\W$"}, ['"é"', "5"], ['"e"', '""']),
        ({"pattern": r"^\p{L}[^\w\s]$"}, ['"éé"'], ['"1é"']),
        ({"pattern": r"\cA"}, ['"only llguidance may know"'], []),
        (
            {"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
            ['{"x": "a", "b": 1}', "[]"],
            ['{"x": 1}', '{"b": "a"}'],
        ),
        ({"properties": {"a": {}}, "additionalProperties": False}, ['{"a": 1}'], ['{"b": 1}']),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$id": "urn:a", "type": "null"}}}, ["null"], ["1"]),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, ["1.5"], ["1"]),
        ({}, ["1"], ["{", ""]),
    ],
)
def test_an_answer_is_checked_as_its_schema_means(
    schema: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    assert not [text for text in right if mismatch(json.dumps(schema), text)]
    assert not [text for text in wrong if not mismatch(json.dumps(schema), text)]


def nested(levels: int) -> str:
    return '{"n":' * levels + "{}" + "}" * levels


BRANCH = {"properties": {"n": {"$ref": "#"}}}
DOUBLING = {"anyOf": [BRANCH | {"required": ["x"]}, BRANCH | {"required": ["y"]}]}
LINKS = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
CHAIN = {"$ref": "#/$defs/d0", "$defs": LINKS | {"d40": True}}
BACKTRACKING = {"type": "string", "pattern": r"^(.*a){20}(.*b){20}\1$"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (DOUBLING, nested(60)),
        (CHAIN, "1"),
        (BACKTRACKING, json.dumps("a" * 60 + "b" * 60)),
        ({"properties": {"a": BACKTRACKING | {"$schema": DRAFT_7}}}, json.dumps({"a": "a" * 60 + "b" * 60})),
        ({"patternProperties": {BACKTRACKING["pattern"]: True}}, json.dumps({"a" * 60 + "b" * 60: 1})),
        ({"items": {"$ref": "#"}}, "[" * 5000 + "]" * 5000),
        ({"$ref": "https://127.0.0.1:1/schema"}, "1"),
    ],
)
def test_an_answer_that_takes_too_long_to_check_is_not_given(
    monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr(answer_check, "LIMIT_S", 0.05)
    assert mismatch(json.dumps(schema), text) == TOO_COMPLEX


# zod 4's z.email(), z.iso.duration() and z.hostname().
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
DURATION = r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$"
HOSTNAME = (
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$"
)
BASE_64 = r"^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
LATEST = "https://json-schema.org/draft/2020-12/schema"
SAFE = 2**53 - 1


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    friend: "Cat | Dog | None" = None


class Point(BaseModel):
    version: Literal[1]
    at: tuple[float, float]


class Circle(BaseModel):
    version: Literal[2]
    radius: Annotated[Decimal, Field(gt=0)]


PYDANTIC: list[tuple[Any, list[str], list[str]]] = [
    (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        ['{"kind":"cat","lives":9}', '{"kind":"dog"}', '{"kind":"dog","friend":{"kind":"cat","lives":1}}'],
        ['{"kind":"cat"}', '{"kind":"dog","lives":9}'],
    ),
    (
        Annotated[Point | Circle, Field(discriminator="version")],
        ['{"version":1,"at":[1,2.5]}', '{"version":2,"radius":0.5}'],
        ['{"version":1,"radius":0.5}', '{"version":3}'],
    ),
    (Colour | None, ['"red"', "null"], ['"green"']),
    (dict[str, Annotated[int, Field(gt=0)]], ['{"a":1}', "{}"], ['{"a":0}', '{"a":"b"}']),
    (Annotated[dict[str, int], Field(min_length=1)], ['{"a":1}'], ["{}"]),
    (datetime, ['"2024-12-31T23:59:59Z"'], ['"yesterday"']),
    (timedelta, ['"P1DT2H"'], ['"2 h"']),
    (UUID, ['"12345678-1234-5678-1234-567812345678"'], ['"1234"']),
    (Annotated[str, Field(pattern=r"^[A-Z]{2}-\d+$", max_length=6)], ['"AB-1"'], ['"ab-1"', '"AB-1234"']),
    (Annotated[float, Field(ge=0, le=1)], ["0", "0.5", "1.0"], ["1.1", "-0.1"]),
    (Annotated[int, Field(gt=0, multiple_of=5)], ["5", "100"], ["0", "7"]),
    (tuple[int, str], ['[1,"a"]'], ["[1]", '["a",1]']),
    (SecretStr, ['"a"'], ["1"]),
]
ZOD: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "integer", "minimum": -SAFE, "maximum": SAFE, "$schema": LATEST}, ["5", "-5"], ["1.5"]),
    ({"type": "string", "format": "email", "pattern": EMAIL}, ['"a.b@c.de"'], ['"a@b"', '".a@b.de"']),
    ({"type": "string", "format": "duration", "pattern": DURATION}, ['"P1D"', '"P1W"'], ['"P"', '"P1W1D"']),
    ({"type": "string", "format": "hostname", "pattern": HOSTNAME}, ['"a.b"'], ['"a-"', '"a b"']),
    (
        {"type": "string", "format": "base64", "contentEncoding": "base64", "pattern": BASE_64},
        ['"YQ=="'],
        ['"a"'],
    ),
    ({"type": "string", "format": "starts_with", "pattern": "^SKU-.*"}, ['"SKU-1"'], ['"SK"']),
    (
        {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
        ['{"a":1.5}'],
        ['{"a":"b"}'],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "$schema": LATEST},
        ['["a",1]'],
        ["[1]"],
    ),
]
OPENAPI: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "integer", "format": "int64"}, ["5"], ['"5"']),
    ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, ["0.1", "1"], ["0"]),
    ({"oneOf": [{"const": 1, "title": "Low"}, {"const": 2, "title": "High"}]}, ["1", "2"], ["3"]),
    (
        {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "pattern": "^a"}]},
        ['"b"', '"aaaa"'],
        ['"a"'],
    ),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": False}, ['["a","a"]'], ["[1]"]),
]
PYDANTIC_SCHEMAS = [(TypeAdapter(kind).json_schema(), right, wrong) for kind, right, wrong in PYDANTIC]


@pytest.mark.parametrize(("schema", "right", "wrong"), [*PYDANTIC_SCHEMAS, *ZOD, *OPENAPI])
def test_an_answer_is_what_a_generated_schema_means(
    schema: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    text = to_schema(schema, "schema")
    grammar = LLMatcher.grammar_from_json_schema(json_schema(text, SPACING))
    answers = accepted_by(grammar, [*right, *wrong])
    assert [answer for answer in answers if not mismatch(text, answer)] == right


def test_a_map_with_listed_names_is_refused_by_its_keyword() -> None:
    """As pydantic writes dict[Colour, int], and zod record(z.enum(…), …)."""
    with refused("unsupported_parameter", "schema.propertyNames"):
        to_schema(TypeAdapter(dict[Colour, int]).json_schema(), "schema")


DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"


@pytest.mark.parametrize(
    ("schema", "right", "wrong", "broken"),
    [
        ({"type": "string", "enum": ["a", None], "nullable": True}, ['"a"', "null"], ['"b"', "1"], []),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"const": 1}}, "nullable": True}, ["1", "null"], ["2"], []),
        ({"anyOf": [{"type": "integer"}], "type": "integer", "nullable": True}, ["1", "null"], ['"a"'], []),
        ({"type": "object", "properties": {}, "nullable": True}, ["{}", "null"], ['{"a":1}'], []),
        ({"type": "object", "properties": {}}, ["{}"], ['{"a":1}'], []),
        ({"type": "string", "pattern": DECIMAL}, ['"-12.50"'], ['"a"'], ['"+"', '""']),
        ({"type": "string", "pattern": r"^(?=.*\d)[a-z\d]{3,}$"}, ['"ab1"'], ['"a1"', '"AB1"'], ['"abc"']),
        ({"type": "string", "pattern": r"^\w+(?<!x)$"}, ['"ab"'], ['"a b"'], ['"ax"']),
        ({"type": "string", "pattern": r"^(a|b)-\1$"}, ['"a-a"'], ['"c-c"'], ['"a-b"']),
        ({"type": "string", "pattern": r"^a\b.*$"}, ['"a b"'], ['"b"'], ['"ab"']),
        ({"type": "string", "pattern": r"^\(?=[(?=)]\\b$"}, [r'"(==\\b"', r'"=)\\b"'], ['"=b"'], []),
        ({"type": "string", "pattern": "^a(?=(b$"}, [], ['"c"'], ['"ab"']),
    ],
)
def test_a_grammar_leaves_no_wrong_answer_to_a_caller(
    schema: dict[str, Any], right: list[str], wrong: list[str], broken: list[str]
) -> None:
    """What no grammar can hold an answer to (`broken`) is found in the finished one."""
    content = to_schema(schema, "schema")
    grammar = LLMatcher.grammar_from_json_schema(json_schema(content, SPACING))
    assert accepted_by(grammar, [*right, *wrong, *broken]) == [*right, *broken]
    assert [text for text in (*right, *wrong, *broken) if not mismatch(content, text)] == right
