"""Arguments in Gemma's form are of their function's schema, or the schema is refused."""

from typing import Any

import pytest
from llguidance import LLMatcher

from shared.errors import CallerError
from tests.support import grammars
from worker.engines.grammar.gemma_calls import arguments
from worker.engines.grammar.lark import quoted

WHOLE = {"type": "integer", "minimum": 0}


def of(value: Any, **keywords: Any) -> dict[str, Any]:
    """Arguments with one property, `u`, which has to be there."""
    return {"type": "object", "properties": {"u": value}, "required": ["u"], **keywords}


def grammar(schema: dict[str, Any]) -> str:
    return "\n".join(arguments("start", schema, quoted))


def accepted(schema: dict[str, Any], texts: list[str]) -> list[str]:
    """Those that a call's arguments may be."""
    return grammars.accepted_by(LLMatcher.grammar_from_lark(grammar(schema)), texts)


def text(value: str) -> str:
    return f'<|"|>{value}<|"|>'


@pytest.mark.parametrize("keywords", [{}, {"properties": {}}])
def test_a_function_without_parameters_gets_none(keywords: dict[str, Any]) -> None:
    schema = {"type": "object", "additionalProperties": False, **keywords}
    assert accepted(schema, ["{}", "{a:1}"]) == ["{}"]
    assert accepted({"type": "object", **keywords}, ["{}", "{a:1}"]) == ["{}", "{a:1}"]


@pytest.mark.parametrize("least", [0, 1])
def test_a_list_of_one_at_most_and_a_text_of_none_are_written(least: int) -> None:
    schema = {"type": "array", "items": {"type": "string", "maxLength": 0}, "minItems": least, "maxItems": 1}
    one, two = f"[{text('')}]", f"[{text('')},{text('')}]"
    assert accepted(of(schema), [f"{{u:{value}}}" for value in ("[]", one, two, f"[{text('a')}]")]) == [
        f"{{u:{value}}}" for value in ("[]", one)[least:]
    ]


def test_unnamed_properties_have_the_values_of_their_schema() -> None:
    counts = of({"type": "object", "additionalProperties": WHOLE})
    assert accepted(counts, ["{u:{}}", "{u:{a:1,b-c:2}}", "{u:{a:true}}", "{u:{a:-1}}"]) == [
        "{u:{}}",
        "{u:{a:1,b-c:2}}",
    ]
    tree = of({"$ref": "#/$defs/t"}, **{"$defs": {"t": {"additionalProperties": {"$ref": "#/$defs/t"}}}})
    tree["$defs"]["t"]["type"] = "object"
    assert accepted(tree, ["{u:{a:{b:{}}}}", "{u:{a:1}}"]) == ["{u:{a:{b:{}}}}"]


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "enum": ["a", None, 1]}, [text("a")], ["null", "1"]),
        ({"type": "integer", "enum": [1, 1.5, True, None]}, ["1"], ["1.5", "true", "null"]),
        ({"type": ["number", "null"], "enum": [1, 1.5, "1", None]}, ["1", "1.5", "null"], [text("1")]),
        ({"const": "a", "enum": ["a", "b"], "type": "string"}, [text("a")], [text("b")]),
        ({"enum": [1, True], "const": True}, ["true"], ["1"]),
        ({"allOf": [{"$ref": "#/$defs/n"}], "title": "x", "default": 1}, ["1", "1.5"], ["-1", text("a")]),
        ({"anyOf": [WHOLE], "properties": {}, "required": [], "items": True}, ["1"], ["-1", "{}"]),
        ({"type": "array", "items": False, "maxItems": 0}, ["[]"], ["[1]"]),
    ],
)
def test_literals_references_and_choices_are_kept(schema: Any, right: list[str], wrong: list[str]) -> None:
    named = {"n": {"type": "number", "minimum": 0}}
    whole = of(schema, **{"$defs": named})
    right, wrong = ([f"{{u:{value}}}" for value in values] for values in (right, wrong))
    assert accepted(whole, right + wrong) == right


@pytest.mark.parametrize("place", ["#/$defs/My%20T", "#/properties/v/anyOf/0", "#/$defs/a~1b"])
def test_a_reference_is_followed_however_its_generator_writes_the_place(place: str) -> None:
    schema = of({"$ref": place}, **{"$defs": {"My T": WHOLE, "a/b": WHOLE}})
    schema["properties"]["v"] = {"anyOf": [WHOLE, {"type": "null"}]}
    assert accepted(schema, ["{u:1}", "{u:null}"]) == ["{u:1}"]


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        (of(WHOLE, anyOf=[{"required": ["u"]}, {"required": []}]), "properties beside anyOf"),
        (of({"enum": [1, 2, 3], "minimum": 2}), "minimum beside enum"),
        (of({"$ref": "#/$defs/n", "maximum": 3}, **{"$defs": {"n": WHOLE}}), "maximum beside \\$ref"),
        (of({"allOf": [{"type": "string"}], "maxLength": 1}), "maxLength beside allOf"),
        (of({"allOf": [WHOLE], "anyOf": [WHOLE]}), "allOf beside anyOf"),
        (of({"allOf": [WHOLE, {"maximum": 3}]}), "allOf"),
        (of({"type": "object", "required": ["k"]}), "required"),
        (of(WHOLE, required=["u", "z"]), "required"),
        (of({"type": "string", "enum": [1]}), "type"),
        (of({"type": "null", "anyOf": [WHOLE]}), "type beside anyOf"),
        (of({"type": "object", "anyOf": [WHOLE]}), "anyOf"),
        (of({"type": "object", "$ref": "#/$defs/n"}, **{"$defs": {"n": WHOLE}}), "type"),
        (of({"enum": [[1]]}), "enum"),
        (of({"$ref": "#u"}), "\\$ref"),
        (of({"anyOf": [False, WHOLE]}), "false"),
    ],
)
def test_what_this_form_cannot_express_is_refused_by_its_keyword(
    schema: dict[str, Any], keyword: str
) -> None:
    with pytest.raises(CallerError, match=f"'{keyword}'") as refused:
        grammar(schema)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "minItems": 3, "maxItems": 2}, {"type": "string", "minLength": 3, "maxLength": 2}],
)
def test_counts_that_exclude_each_other_are_refused_by_name(schema: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="is above max") as refused:
        grammar(of(schema))
    assert (refused.value.code, refused.value.param) == ("invalid_request", "tools")
