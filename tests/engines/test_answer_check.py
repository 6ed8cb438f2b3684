"""A finished answer is checked against its schema as its draft says, exactly and in bounded time."""

import json
from typing import Any

import pytest

from worker.engines.grammar import answer_check
from worker.engines.grammar.answer_check import TOO_COMPLEX, mismatch

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
