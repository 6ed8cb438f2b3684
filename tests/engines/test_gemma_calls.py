"""Arguments in Gemma's form keep their schema's properties, types, literals and references."""

from typing import Any

import pytest
from llguidance import LLMatcher

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
        ({"enum": [1, "1", None]}, ["1", text("1"), "null"], ["1.5"]),
        ({"const": "a", "enum": ["a", "b"], "type": "string"}, [text("a")], [text("b")]),
        ({"type": ["integer", "null"], "minimum": 0}, ["1", "null"], ["-1", "1.5"]),
        ({"oneOf": [WHOLE, {"type": "null"}]}, ["1", "null"], ["-1"]),
        ({"allOf": [{"$ref": "#/$defs/n"}], "title": "x", "default": 1}, ["1", "1.5"], ["-1", text("a")]),
        ({"anyOf": [WHOLE], "properties": {}, "required": [], "items": True}, ["1"], ["-1", "{}"]),
        ({"type": "array", "items": WHOLE}, ["[]", "[1,2]"], ["[-1]"]),
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
    ("schema", "right"),
    [
        (of({"type": "string", "pattern": "^b"}), f"{{u:{text('ab')}}}"),
        (of({"enum": [[1]]}), "{u:[2]}"),
        (of({"$ref": "#u"}), "{u:1}"),
        (of({"allOf": [WHOLE, {"maximum": 3}]}), "{u:9}"),
        (of(WHOLE, required=["u", "z"]), "{z:1}"),
        ({"anyOf": [of(WHOLE)]}, "{v:1}"),
    ],
)
def test_what_the_rules_cannot_keep_is_left_to_the_check_of_the_answer(
    schema: dict[str, Any], right: str
) -> None:
    assert accepted(schema, [right]) == [right]
