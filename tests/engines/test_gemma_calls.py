"""Arguments in Gemma's form are of their function's schema, or the schema is refused."""

from typing import Any

import pytest
from llguidance import LLMatcher

from shared.errors import CallerError
from tests.support import grammars
from worker.engines.grammar.gemma_calls import arguments
from worker.engines.grammar.lark import quoted
from worker.engines.grammar.translation import translated

WHOLE = {"type": "integer", "minimum": 0}


def of(value: Any, **beside: Any) -> dict[str, Any]:
    """Arguments with one property, `u`, which has to be there."""
    return {"type": "object", "properties": {"u": value}, "required": ["u"], **beside}


def grammar(schema: dict[str, Any]) -> str:
    return "\n".join(arguments("start", translated(schema), quoted))


def taken(schema: dict[str, Any], texts: list[str]) -> list[str]:
    """Those that a call's arguments may be."""
    return grammars.taken(LLMatcher.grammar_from_lark(grammar(schema)), texts)


def text(value: str) -> str:
    return f'<|"|>{value}<|"|>'


@pytest.mark.parametrize("beside", [{}, {"properties": {}}])
def test_a_function_that_takes_nothing_is_given_nothing(beside: dict[str, Any]) -> None:
    schema = {"type": "object", "additionalProperties": False, **beside}
    assert taken(schema, ["{}", "{a:1}"]) == ["{}"]
    assert taken({"type": "object", **beside}, ["{}", "{a:1}"]) == ["{}", "{a:1}"]


@pytest.mark.parametrize("least", [0, 1])
def test_a_list_of_one_at_most_and_a_text_of_none_are_written(least: int) -> None:
    schema = {"type": "array", "items": {"type": "string", "maxLength": 0}, "minItems": least, "maxItems": 1}
    one, two = f"[{text('')}]", f"[{text('')},{text('')}]"
    assert taken(of(schema), [f"{{u:{value}}}" for value in ("[]", one, two, f"[{text('a')}]")]) == [
        f"{{u:{value}}}" for value in ("[]", one)[least:]
    ]


def test_names_that_are_no_ones_have_the_values_that_are_asked_for() -> None:
    counts = of({"type": "object", "additionalProperties": WHOLE})
    assert taken(counts, ["{u:{}}", "{u:{a:1,b-c:2}}", "{u:{a:true}}", "{u:{a:-1}}"]) == [
        "{u:{}}",
        "{u:{a:1,b-c:2}}",
    ]
    tree = of({"$ref": "#/$defs/t"}, **{"$defs": {"t": {"additionalProperties": {"$ref": "#/$defs/t"}}}})
    tree["$defs"]["t"]["type"] = "object"
    assert taken(tree, ["{u:{a:{b:{}}}}", "{u:{a:1}}"]) == ["{u:{a:{b:{}}}}"]


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "enum": ["a", None, 1]}, [text("a")], ["null", "1"]),
        ({"type": "integer", "enum": [1, 1.5, True, None]}, ["1"], ["1.5", "true", "null"]),
        ({"type": ["number", "null"], "enum": [1, 1.5, "1", None]}, ["1", "1.5", "null"], [text("1")]),
        ({"const": "a", "enum": ["a", "b"], "type": "string"}, [text("a")], [text("b")]),
        ({"enum": [1, True], "const": True}, ["true"], ["1"]),
        (
            {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": -5}]},
            ["5", "-6"],
            ["0", "5.5", "null", "[]", text("a")],
        ),
        ({"type": "null", "anyOf": [{"type": "string"}, {}]}, ["null"], [text("a"), "1"]),
        ({"type": "null", "anyOf": [{"const": "a"}, {"const": None}]}, ["null"], [text("a")]),
        ({"type": ["string", "integer"], "$ref": "#/$defs/n"}, ["1"], ["1.5", text("a")]),
        ({"type": "number", "anyOf": [False, WHOLE], "description": "x"}, ["1"], ["-1", "1.5"]),
        ({"allOf": [{"$ref": "#/$defs/n"}], "title": "x", "default": 1}, ["1", "1.5"], ["-1", text("a")]),
        ({"anyOf": [WHOLE], "properties": {}, "required": [], "items": True}, ["1"], ["-1", "{}"]),
        ({"type": "array", "items": False, "maxItems": 0}, ["[]"], ["[1]"]),
        ({"type": "string", "anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/s"}]}, [text("a")], ["1"]),
        ({"type": "string", "anyOf": [{"anyOf": [WHOLE]}, {"type": "string"}]}, [text("a")], ["1"]),
        ({"type": "string", "$ref": "#/$defs/either"}, [text("a")], ["1", "[]"]),
        (
            {"type": "integer", "enum": [1, 2, 3, 4], "exclusiveMinimum": 1, "maximum": 3},
            ["2", "3"],
            ["1", "4"],
        ),
        (
            {"enum": ["", "ab", "é", 7], "minLength": 1, "maxLength": 1},
            [text("é"), "7"],
            [text(""), text("ab")],
        ),
        ({"const": 3, "minimum": 0}, ["3"], ["0"]),
    ],
)
def test_what_stands_beside_a_part_of_a_schema_is_kept_too(
    schema: Any, right: list[str], wrong: list[str]
) -> None:
    named = {
        "n": {"type": "number", "minimum": 0},
        "s": {"type": "string"},
        "either": {"anyOf": [{"$ref": "#/$defs/either"}, {"$ref": "#/$defs/n"}, {"$ref": "#/$defs/s"}]},
    }
    whole = of(schema, **{"$defs": named})
    right, wrong = ([f"{{u:{value}}}" for value in values] for values in (right, wrong))
    assert taken(whole, right + wrong) == right


@pytest.mark.parametrize("place", ["#/$defs/My%20T", "#/properties/v/anyOf/0", "#/$defs/a~1b"])
def test_a_reference_is_followed_however_its_generator_spells_the_place(place: str) -> None:
    schema = of({"$ref": place}, **{"$defs": {"My T": WHOLE, "a/b": WHOLE}})
    schema["properties"]["v"] = {"anyOf": [WHOLE, {"type": "null"}]}
    assert taken(schema, ["{u:1}", "{u:null}"]) == ["{u:1}"]


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        (of(WHOLE, anyOf=[{"required": ["u"]}, {"required": []}]), "properties beside anyOf"),
        (of({"enum": [1, 2, 3], "minimum": 4}), "minimum beside enum"),
        (of({"$ref": "#/$defs/n", "maximum": 3}, **{"$defs": {"n": WHOLE}}), "maximum beside \\$ref"),
        (of({"allOf": [{"type": "string"}], "maxLength": 1}), "maxLength beside allOf"),
        (of({"allOf": [WHOLE], "anyOf": [WHOLE]}), "allOf beside anyOf"),
        (of({"allOf": [WHOLE, {"maximum": 3}]}), "allOf"),
        (of({"type": "object", "required": ["k"]}), "required"),
        (of(WHOLE, required=["u", "z"]), "required"),
        (of({"type": "string", "enum": [1]}), "type"),
        (of({"const": 1, "enum": [2]}), "type"),
        (of({"type": "null", "anyOf": [WHOLE]}), "type"),
        (of({"anyOf": [{"$ref": "#/$defs/none"}, {"type": "null"}], "type": "null"}), "\\$ref"),
        (of({"$ref": "#u"}), "\\$ref"),
        (of({"type": "string", "anyOf": []}), "anyOf"),
        (of({"type": "null", "$ref": "#/$defs/n"}, **{"$defs": {"n": WHOLE}}), "type"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_not_forgotten(schema: dict[str, Any], keyword: str) -> None:
    with pytest.raises(CallerError, match=f"'{keyword}'") as refused:
        grammar(schema)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "minItems": 3, "maxItems": 2}, {"type": "string", "minLength": 3, "maxLength": 2}],
)
def test_counts_that_nothing_has_are_refused_in_their_own_words(schema: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="is above max") as refused:
        grammar(of(schema))
    assert (refused.value.code, refused.value.param) == ("invalid_request", "tools")


def test_a_function_s_multiples_on_both_sides_of_0_are_written() -> None:
    schema = of({"type": "number", "multipleOf": 0.25, "minimum": -1, "maximum": 1})
    written = [f"{{u:{number}}}" for number in ("-1", "-0.50", "-0.25", "0", "0.75", "1.25", "0.3", "true")]
    assert taken(schema, written) == written[:5]


def test_a_whole_number_s_multiples_of_a_fraction_are_those_that_are_whole() -> None:
    schema = of({"type": ["integer", "null"], "multipleOf": 0.75, "minimum": -0.8, "maximum": 4})
    written = [f"{{u:{number}}}" for number in ("0", "3", "null", "-0.75", "-3", "1", "1.5", "6")]
    assert taken(schema, written) == written[:3]


def test_a_whole_number_is_written_without_a_point_where_one_multiple_is_left() -> None:
    schema = of({"type": "integer", "multipleOf": 0.07, "minimum": 140, "maximum": 140})
    assert taken(schema, ["{u:140}", "{u:140.0}", "{u:147}"]) == ["{u:140}"]
