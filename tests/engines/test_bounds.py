"""A number that a schema shuts out is not written, wherever in the schema its bounds stand."""

import json
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator

from shared.errors import CallerError
from shared.request import Format, Function, Tools
from shared.tool_calls.syntax import Syntax
from tests.support.families.tokens import END, byte_tokenizer, token_id
from worker.engines.grammar import bounds
from worker.engines.grammar.compiler import SPACING, Grammars
from worker.engines.grammar.tool_calls import Calling
from worker.engines.grammar.translation import translated

Schema = dict[str, Any]
TEXTS = (
    *("0", "0.0", "0.00", "-0", "-0.0", "0.001", "0.3", "0.5", "-0.001", "-0.3", "1", "1.0", "1.0005", "-1"),
    *("-1.0005", "5", "5.0", "5.04", "5.05", "6", "99", "99.0", "99.5", "99999999999999"),
    *("99999999999999.3", "-99999999999999", "2.99", "3"),
)
SHUT = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}


@cache
def grammars() -> Grammars:
    tokenizer = byte_tokenizer()
    return Grammars(tokenizer, [token_id(tokenizer, END)])


def taken(schema: Schema, texts: tuple[str, ...] = TEXTS) -> set[str]:
    """Those that an answer may be."""
    start = grammars().compile(Format(kind="json", content=json.dumps(schema)))
    found = set()
    for text in texts:
        matcher = start.deep_copy()
        ids = byte_tokenizer().encode(text, add_special_tokens=False)
        if matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting():
            found.add(text)
    return found


def put(low: Schema, high: Schema, where: str) -> Schema:
    return {
        "together": {"type": "number", **low, **high},
        "untyped": {**low, **high},
        "nullable": {"type": ["number", "null"], **low, **high},
        "in parts": {"allOf": [{"type": "number", **low}, high]},
        "by reference": {"type": "number", **high, "$ref": "#/x/low", "x": {"low": low}},
    }[where]


@pytest.mark.parametrize("where", ["together", "untyped", "nullable", "in parts", "by reference"])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"exclusiveMinimum": 0}, {"maximum": 0.5}),
        ({"exclusiveMinimum": 0}, {"exclusiveMaximum": 1e-05}),
        ({"exclusiveMinimum": 1.0}, {"maximum": 1.001}),
        ({"exclusiveMinimum": 5}, {"maximum": 5.05}),
        ({"exclusiveMinimum": 99999999999999}, {"maximum": 99999999999999.5}),
        ({"minimum": -0.001}, {"exclusiveMaximum": 0}),
        ({"minimum": -1.001}, {"exclusiveMaximum": -1}),
    ],
)
def test_a_whole_number_that_is_shut_out_is_no_answer(low: Schema, high: Schema, where: str) -> None:
    for text in taken(put(low, high, where)):
        assert Draft202012Validator({**low, **high}).is_valid(json.loads(text)), text


def test_what_lies_between_two_bounds_is_still_written() -> None:
    assert taken(SHUT) == {"0.001", "0.3", "0.5"}
    assert {"5.04", "5.05"} == taken({"type": "number", "exclusiveMinimum": 5, "maximum": 5.05})
    assert {"1.0005", "2.99"} <= taken({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 3})
    assert {"1", "2.99", "99"} <= taken({"exclusiveMinimum": 0})
    assert taken({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 6}) == {"1", "3", "5"}


TWO_PLACES = ("-0.75", "0.00", "0.25", "0.50", "0.90")
TENTHS = tuple(str(tenths / 10) for tenths in range(-10, 11))


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"minimum": 0.25, "maximum": 0.55}, {"0.3", "0.4", "0.5"}),
        ({"minimum": -0.95, "maximum": -0.75}, {"-0.9", "-0.8"}),
        ({"minimum": 0.3, "maximum": 0.3}, {"0.3"}),
        ({"minimum": 0.65, "maximum": 0.7}, {"0.7"}),
        ({"exclusiveMinimum": 0.3, "exclusiveMaximum": 0.5}, {"0.4"}),
        ({"minimum": 0.3, "exclusiveMinimum": True, "maximum": 0.55}, {"0.4", "0.5"}),
        ({"type": ["number", "null"], "minimum": 0.3, "maximum": 0.3}, {"0.3", "null"}),
        ({"multipleOf": 0.5, "minimum": 0.25, "maximum": 0.55}, {"0.5"}),
        ({"type": "integer", "multipleOf": 5, "exclusiveMinimum": 0, "maximum": 7}, {"5"}),
        ({"multipleOf": 0.25, "minimum": 0, "maximum": 0.6}, {"0.00", "0.25", "0.50"}),
        ({"multipleOf": 0.15, "exclusiveMinimum": -0.88, "maximum": 1.0}, {"-0.75", "0.00", "0.90"}),
    ],
)
def test_every_multiple_between_its_bounds_can_be_written(schema: Schema, wanted: set[str]) -> None:
    whole = {"type": "number", "multipleOf": 0.1} | schema
    assert (
        taken(whole, (*TENTHS, *TWO_PLACES, "5", "10", "null")) & {*wanted, *TENTHS, "5", "10", "null"}
        == wanted
    )


@pytest.mark.parametrize("factor", [0.05, 0.125, 0.25])
@pytest.mark.parametrize(("low", "high"), [(-1.6, 1.067), (-2.51, 0), (None, 1.5), (-1.6, None)])
def test_no_multiple_is_lost_where_the_bounds_lie_on_both_sides_of_0(
    factor: float, low: float | None, high: float | None
) -> None:
    bounds = {name: bound for name, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    places = len(str(factor)) - 2
    counts = [count for count in range(-100, 101) if -4 < count * factor < 4]
    texts = {f"{count * factor:.{places}f}": count * factor for count in counts}
    inside = {
        text
        for text, value in texts.items()
        if (low is None or low <= value) and (high is None or value <= high)
    }
    assert taken({"type": "number", "multipleOf": factor, **bounds}, tuple(texts)) == inside


def test_what_looks_like_bounds_in_an_unknown_keyword_breaks_nothing() -> None:
    for numbers in ((1e-300, 1e300), (True, 5), (0, 1), ("x", None)):
        default = {"multipleOf": numbers[0], "minimum": numbers[1], "maximum": numbers[1]}
        assert taken({"type": "boolean", "default": default}, ("true", "0")) == {"true"}


def test_bounds_with_no_multiple_between_them_are_refused_by_name() -> None:
    for low, high in ((0.32, 0.38), (0.31, 0.39)):
        with pytest.raises(CallerError, match=r"multiple of 0\.1"):
            taken({"type": "number", "multipleOf": 0.1, "minimum": low, "maximum": high})


def test_draft_4_says_that_a_bound_is_exclusive_beside_it() -> None:
    for low, high in ((0, 0.5), (-0.5, 0), (1, 1.001), (-1.001, -1), (5, 6)):
        schema = {
            **{"type": "number", "minimum": low, "exclusiveMinimum": True},
            **{"maximum": high, "exclusiveMaximum": True},
        }
        assert all(Draft4Validator(schema).is_valid(json.loads(text)) for text in taken(schema)), schema


@pytest.mark.parametrize("syntax", ["hermes", "gemma"])
def test_arguments_of_calls_keep_their_bounds(syntax: Syntax) -> None:
    schema = {"type": "object", "properties": {"a": SHUT}, "required": ["a"], "additionalProperties": False}
    tool = Function(name="f", parameters=json.dumps(schema), held=json.dumps(schema))
    wanted = Calling(Tools(functions=(tool,), required=True), syntax, None, SPACING)
    shape = {
        "hermes": '<tool_call>\n{"name": "f", "arguments": {"a": @}}\n</tool_call>',
        "gemma": "<|tool_call>call:f{a:@}<tool_call|>",
    }[syntax]
    for number, right in (("0", False), ("0.5", True)):
        ids = byte_tokenizer().encode(shape.replace("@", number), add_special_tokens=False)
        matcher = grammars().calls(wanted)
        assert (matcher.try_consume_tokens(ids) == len(ids)) is right


def test_literals_and_names_that_look_like_bounds_stay_as_they_are() -> None:
    schema = {
        "enum": [{"exclusiveMinimum": 0}],
        "properties": {
            "const": {"exclusiveMinimum": 2},
            "exclusiveMinimum": {"const": {"exclusiveMaximum": 0}},
        },
    }
    assert translated(schema) == {
        "enum": [{"exclusiveMinimum": 0}],
        "properties": {
            "const": {"exclusiveMinimum": 2.00000000000001},
            "exclusiveMinimum": {"const": {"exclusiveMaximum": 0}},
        },
    }


def test_draft_4_says_that_a_bound_is_not_exclusive_beside_it() -> None:
    for schema in ({"minimum": 0, "exclusiveMinimum": False}, {"maximum": 0, "exclusiveMaximum": False}):
        written: dict[str, Any] = dict(schema)
        bounds.translate(written)
        assert written == schema
