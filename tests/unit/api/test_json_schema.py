"""A schema that cannot be compiled is refused before anyone waits, and no other one is."""

import json
from typing import Any

import pytest

from api.dialects.formats import to_schema
from tests.support.refusal import refusal

HERE = {"$ref": "#/$defs/d"}


@pytest.mark.parametrize(
    "defs",
    [
        {"d": {"anyOf": [HERE, {"type": "null"}]}},
        {"d": {"type": "array", "items": HERE}},
        {"d": {"$ref": "#"}},
        {"d": {"$ref": "#/$defs/e"}, "e": True},
        {"d": {"$ref": "#anchor"}},
        {"d": {"$ref": "#/$defs/e/enum/" + "9" * 5000}, "e": {"enum": [1]}},
        {"d": {"$ref": "#/$defs/0"}, **{str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(900)}},
    ],
)
def test_references_that_end_in_a_value_are_followed_and_one_to_an_anchor_alone(defs: dict[str, Any]) -> None:
    assert to_schema({"type": "object", "properties": {"next": HERE}, "$defs": defs}, "schema")
    assert to_schema({"$ref": "#whole", "$defs": {"w": {"$anchor": "whole", "type": "integer"}}}, "schema")


@pytest.mark.parametrize(
    ("hidden", "place"),
    [
        ({"properties": {"a": {"not": {}}}}, "schema.items.$ref.properties.a.not"),
        ({"$ref": "#/x/other"}, "schema.items.$ref.$ref.multipleOf"),
    ],
)
def test_a_schema_that_a_reference_finds_below_an_unknown_keyword_is_checked(hidden: Any, place: str) -> None:
    schema = {"type": "array", "items": {"$ref": "#/x/d"}, "x": {"d": hidden, "other": {"multipleOf": 0}}}
    assert refusal(to_schema, schema, "schema")[1] == place


IDLE: list[Any] = [
    {"uniqueItems": False},
    *({"propertyNames": names} for names in (True, {}, {"type": "string"})),
]


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("schema", [{"type": "array"}, {"items": {"allOf": [True, {"type": "string"}]}}])
def test_a_keyword_that_constrains_nothing_is_dropped(schema: Any, idle: Any) -> None:
    """The compiler does not know it."""
    text = to_schema({**schema, "$defs": {"x": idle}, **idle}, "schema")
    assert json.loads(text) == {**schema, "$defs": {"x": {}}}


def test_a_property_that_is_named_like_an_idle_keyword_stays() -> None:
    schema = {"type": "object", "properties": {"uniqueItems": False}, "additionalProperties": False}
    whole = {**schema, "default": {"uniqueItems": False}}
    assert json.loads(to_schema(whole, "schema")) == whole
