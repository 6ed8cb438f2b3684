"""Keywords of a schema that ask for nothing, which generators write nevertheless, cost nobody an answer."""

import json
from typing import Any

import pytest

from api.dialects.formats import to_schema
from api.dialects.json_schema import closed


def held(schema: dict[str, Any]) -> Any:
    """What answers are held to."""
    return json.loads(to_schema(schema, "schema"))


@pytest.mark.parametrize(
    "idle",
    [
        {"uniqueItems": False},
        {"minContains": 2, "maxContains": 3},
        {"dependentRequired": {}, "dependentSchemas": {}, "dependencies": {}},
        {"propertyNames": {}, "unevaluatedItems": True},
        {"propertyNames": True, "unevaluatedProperties": {}},
        {"propertyNames": {"type": "string"}},
        {"maxLength": 2**53, "maxItems": 2**63 - 1, "maxProperties": 10**30},
    ],
)
@pytest.mark.parametrize("schema", [{"type": "array"}, {"items": {"allOf": [True, {"type": "string"}]}}])
def test_a_keyword_that_asks_for_nothing_is_no_reason_to_refuse(schema: Any, idle: Any) -> None:
    """And no worker sees it, which could not hold an answer to it."""
    assert held({**schema, "$defs": {"x": idle}, **idle}) == {**schema, "$defs": {"x": {}}}


def test_a_property_that_is_named_like_an_idle_keyword_stays() -> None:
    schema = {"type": "object", "properties": {"uniqueItems": False}, "additionalProperties": False}
    whole = {**schema, "default": {"uniqueItems": False}}
    assert held(whole) == whole


def test_a_schema_that_says_it_is_open_stays_open() -> None:
    schema = {"properties": {"a": {}}, "unevaluatedProperties": True}
    assert closed(schema) == {"properties": {"a": {}}, "additionalProperties": True}
