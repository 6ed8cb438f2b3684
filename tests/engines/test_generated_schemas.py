"""Schemas as pydantic, zod and OpenAPI's tools write them hold an answer to what their callers mean."""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from llguidance import LLMatcher
from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from api.dialects.formats import to_schema
from shared.errors import CallerError
from tests.support.grammars import accepted_by
from worker.engines.grammar.answer_check import mismatch
from worker.engines.grammar.compiler import SPACING
from worker.engines.grammar.lark import json_schema

# zod 4's z.email(), z.iso.duration() and z.hostname().
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
DURATION = r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$"
HOSTNAME = (
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$"
)
BASE_64 = r"^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
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
    # zod-to-json-schema
    (
        {
            "$ref": "#/definitions/thing",
            "definitions": {
                "thing": {
                    "type": "object",
                    "properties": {
                        "pair": {
                            **{"type": "array", "minItems": 2, "maxItems": 2},
                            "items": [{"type": "string"}, {"type": "number"}],
                        },
                        "size": {"type": "number", "exclusiveMinimum": 0},
                    },
                    "required": ["pair", "size"],
                    "additionalProperties": False,
                }
            },
            "$schema": DRAFT_7,
        },
        ['{"pair":["a",1],"size":2}'],
        ['{"pair":["a"],"size":2}', '{"pair":["a",1],"size":0}'],
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
    with pytest.raises(CallerError) as refused:
        to_schema(TypeAdapter(dict[Colour, int]).json_schema(), "schema")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "schema.propertyNames")
