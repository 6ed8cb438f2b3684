"""What a schema says in a way that llguidance does not keep is kept all the same."""

import json
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.errors import CallerError
from tests.engines.test_bounds import taken
from worker.engines.grammar.translation import translated

MOMENTS = (
    *("23:59:59Z", "23:59:60Z", "00:00:00.5+01:00", "00:00:00.123456789z", "00:00:00.1234567890Z"),
    *("2024-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2024-04-31T00:00:00Z", "2024-01-01t00:00:00.1-23:59"),
    *("P1Y2M3DT4H5M6S", "PT999999S", "PT1616037091233S", "P99999999999W", "P3W", "P1DT2M", "P"),
)


def quoted(*texts: str) -> set[str]:
    return {json.dumps(text) for text in texts}


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        (time, quoted("23:59:59Z", "00:00:00.5+01:00", "00:00:00.123456789z")),
        (datetime, quoted("2024-12-31T23:59:59Z", "2024-01-01t00:00:00.1-23:59")),
        (timedelta, quoted("P1Y2M3DT4H5M6S", "PT999999S", "P3W", "P1DT2M")),
    ],
)
def test_an_answer_of_a_time_is_one_for_its_callers_parser(kind: type, right: set[str]) -> None:
    reader: TypeAdapter[Any] = TypeAdapter(kind)
    texts = tuple(quoted(*MOMENTS))
    assert taken(reader.json_schema(), texts) == right
    for text in texts:
        try:
            reader.validate_json(text)
        except ValidationError:
            assert text not in right


TIME = {"type": "string", "format": "time"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/t", "$defs": {"t": TIME}},
        {"$ref": "#/x/t", "x": {"t": TIME}},
        {"anyOf": [TIME, {"type": "null"}]},
        {**TIME, "pattern": "^23"},
        {**TIME, "minLength": 9, "maxLength": 9},
        {**TIME, "allOf": [{"pattern": "^23"}]},
        {"format": "time"},
    ],
)
def test_a_second_60_is_no_answer_wherever_a_time_stands(schema: dict[str, Any]) -> None:
    assert taken(schema, tuple(quoted("23:59:59Z", "23:59:60Z"))) == quoted("23:59:59Z")


def test_a_format_says_nothing_of_what_is_no_text() -> None:
    assert taken({"type": ["integer", "null"], "format": "time"}, ("5", "null")) == {"5", "null"}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"properties": {"a": {"type": "integer"}}, "additionalProperties": True}, "a", r"\u0061"),
        ({"patternProperties": {"^a": {"type": "integer"}}}, "ab", r"\u0061b"),
        ({"patternProperties": {"^[^b]": {"type": "integer"}}}, "a", r"\u0061"),
    ],
)
def test_no_name_is_spelled_so_that_its_value_is_not_looked_at(
    schema: dict[str, Any], right: str, wrong: str
) -> None:
    texts = (f'{{"{right}":1}}', f'{{"{wrong}":"x"}}', f'{{"{right}":"x"}}')
    assert taken({"type": "object", **schema}, texts) == {texts[0]}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"const": "a\x07"}, r'"a\u0007"'),
        ({"const": "a\x7f"}, r'"a\u007f"'),
        ({"properties": {"\0": True}, "required": ["\0"], "type": "object"}, r'{"\u0000":1}'),
        *(({"type": "string", "pattern": f"^{sign}$"}, r'"\u000b"') for sign in (r"\x0b", r"\v", r"\u000b")),
    ],
)
def test_a_control_character_that_a_schema_names_is_still_written(schema: dict[str, Any], text: str) -> None:
    assert taken(schema, (text, '"a"', '""', r'"\n"')) == {text}


@pytest.mark.parametrize(
    "inner",
    [
        {"description": r"C:\vendor\0", "title": "\a", "default": "\0", "examples": [r"\p{L}"]},
        {"enum": [r"C:\vendor\0\u0001", r"\x07", "\n", {"k": "\t"}]},
        {"pattern": r"^\\v\n$"},
        {"properties": {r"\0": True}, "required": [r"\v"], "additionalProperties": True},
        {"description": r"\v", "default": {"properties": 5, "pattern": [1], "enum": "a"}},
    ],
)
def test_no_name_is_spelled_otherwise_since_a_schema_has_a_backslash_somewhere(inner: dict[str, Any]) -> None:
    schema = {"properties": {"a": inner if "properties" in inner else {"type": "string", **inner}}}
    texts = ("{}", r'{"\u0061":1}')
    assert taken({"type": "object", **schema, "additionalProperties": True}, texts) == {"{}"}


@pytest.mark.parametrize(
    ("branches", "right"),
    [
        ([{"const": 1, "title": "Low"}, {"const": 2, "title": "High"}], {"1", "2"}),
        ([{"enum": [1, 2], "type": "integer"}, {"const": 3}], {"1", "2", "3"}),
        ([{"const": 1}, {"const": True}], {"1", "true"}),
        ([{"enum": [1, 2], "maximum": 1}, {"enum": [None, "1"]}], {"1", "null", '"1"'}),
        ([{"const": [1]}, {"const": [2]}], {"[1]", "[2]"}),
    ],
)
def test_literals_that_differ_are_branches_of_a_one_of(branches: list[Any], right: set[str]) -> None:
    texts = ("0", "1", "2", "3", "true", "null", '"1"', "[1]", "[2]")
    assert taken({"oneOf": branches}, texts) == right


@pytest.mark.parametrize(
    "branches",
    [
        [{"const": 1}, {"const": 1.0}],
        [{"const": 0}, {"const": -0.0}],
        [{"enum": [1, 2]}, {"enum": [2, 3]}],
        [{"const": {"a": 1, "b": 2}}, {"const": {"b": 2.0, "a": 1}}],
        [{"const": 1}, {"type": "integer"}],
    ],
)
def test_an_answer_is_never_of_two_branches_of_a_one_of(branches: list[Any]) -> None:
    with pytest.raises(CallerError, match="anyOf says what is meant"):
        taken({"oneOf": branches})


@pytest.mark.parametrize(
    ("schema", "right"),
    [
        ({"enum": [0.5, "a", None, 1.25], "multipleOf": 0.25}, {"0.5", '"a"', "null", "1.25"}),
        ({"enum": [0.3], "multipleOf": 0.1}, {"0.3"}),
        ({"const": 0.5, "multipleOf": 0.25, "type": "number"}, {"0.5"}),
        ({"enum": [1, 2, 4], "multipleOf": 2}, {"2", "4"}),
        ({"enum": [0.5, 0.3, 1.25], "multipleOf": 0.25, "maximum": 1}, {"0.5"}),
        ({"enum": [0.5, 1.25], "multipleOf": 0.25, "minimum": 0.5, "exclusiveMinimum": True}, {"1.25"}),
        (
            {"enum": [0.5, 1.25], "multipleOf": 0.25, "minimum": 0.5, "exclusiveMinimum": False},
            {"0.5", "1.25"},
        ),
        ({"const": 0.5, "enum": [0.5, 1], "multipleOf": 0.25}, {"0.5"}),
        ({"enum": [0.5, "a"], "multipleOf": 0.25, "exclusiveMinimum": 0.5}, {'"a"'}),
    ],
)
def test_a_literal_that_is_a_multiple_is_written_as_it_stands(
    schema: dict[str, Any], right: set[str]
) -> None:
    assert taken(schema, ("0.5", "0.50", "0.3", "1.25", "1", "2", "4", '"a"', "null")) == right


def test_a_reference_into_a_one_of_or_to_a_pattern_of_names_still_leads_there() -> None:
    letter = {"oneOf": [{"const": "x"}, {"const": "y"}]}
    pointing = {"properties": {"a": letter, "b": {"$ref": "#/properties/a/oneOf/0"}}, "required": ["a", "b"]}
    texts = ('{"a":"y","b":"x"}', '{"a":"y","b":"y"}')
    assert taken({"type": "object", **pointing}, texts) == {texts[0]}
    named = {
        "type": "object",
        "patternProperties": {"^[^x]$": {"type": "integer"}},
        "properties": {"name": {"$ref": "#/patternProperties/%5E%5B%5Ex%5D%24"}},
    }
    texts = ('{"name":1}', '{"name":"1"}')
    assert taken(named, texts) == {texts[0]}


def test_what_is_no_schema_is_left_as_it_is() -> None:
    odd: dict[str, Any] = {
        "default": {
            "format": ["time"],
            "multipleOf": "2",
            "enum": 5,
            "oneOf": [5],
            "pattern": 5,
            "patternProperties": ["[["],
        },
        "x": {"format": "time", "allOf": None, "oneOf": {}},
        "const": {"format": "time", "pattern": "[[", "oneOf": [{"const": 1}]},
        "properties": {"format": {"const": "time"}, "pattern": {"enum": ["[["]}},
    }
    assert translated(odd) == odd
