"""Maps whose keys are an enum, as zod and Pydantic write them, hold answers to those keys."""

import json
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter

from api.dialects.formats import to_schema
from shared.errors import CallerError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


NUMBERS = {"red": {"type": "integer"}, "blue": {"type": "integer"}}


def held(schema: dict[str, Any]) -> Any:
    """What answers are held to."""
    return json.loads(to_schema(schema, "schema"))


@pytest.mark.parametrize("keys", [Literal["red", "blue"], Colour])
def test_a_map_by_an_enum_is_held_to_its_names(keys: Any) -> None:
    found = held(TypeAdapter(dict[keys, int]).json_schema())
    assert (found["properties"], found["additionalProperties"]) == (NUMBERS, False)
    assert "propertyNames" not in found


def test_a_map_of_one_name_is_held_to_it() -> None:
    found = held(TypeAdapter(dict[Literal["red"], int]).json_schema())
    assert found["properties"] == {"red": {"type": "integer"}}


def test_a_map_by_an_enum_may_hold_maps_by_any_name() -> None:
    """As zod writes record(z.enum(["red"]), record(z.string(), z.number()))."""
    inner = {
        "type": "object",
        "propertyNames": {"type": "string"},
        "additionalProperties": {"type": "number"},
    }
    names = {"type": "string", "enum": ["red"]}
    found = held({"type": "object", "propertyNames": names, "additionalProperties": inner})
    assert found["properties"]["red"] == {"type": "object", "additionalProperties": {"type": "number"}}


def test_what_is_said_of_one_name_stays() -> None:
    names = {"type": "string", "enum": ["red", "blue"]}
    own = {"properties": {"blue": {"const": 1}}, "required": ["red", "blue"]}
    found = held({"type": "object", "propertyNames": names, **own})
    assert found["properties"] == {"red": True, "blue": {"const": 1}}
    assert found["required"] == ["red", "blue"]


@pytest.mark.parametrize(
    "schema",
    [
        {"propertyNames": {"pattern": "^a"}},
        {"propertyNames": {"$ref": "#/nowhere"}},
        {"propertyNames": {"enum": ["a", 1]}},
        {"propertyNames": {"enum": []}},
        {"propertyNames": {"enum": ["a", "a"]}},
        {"propertyNames": {"enum": [f"{n}" for n in range(1001)]}},
        {"propertyNames": {"enum": ["a"]}, "additionalProperties": {"$ref": "#/additionalProperties"}},
        {"propertyNames": {"enum": ["a"]}, "patternProperties": {"a": {}}},
        {"propertyNames": {"enum": ["a"]}, "properties": {"b": {}}},
        {
            "propertyNames": {"enum": [str(n) for n in range(999)]},
            "additionalProperties": {"const": "x" * 99},
        },
    ],
)
def test_names_that_cannot_be_spelled_out_are_refused_by_their_place(schema: dict[str, Any]) -> None:
    with pytest.raises(CallerError) as refused:
        held({"type": "object", **schema})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "schema.propertyNames")


def test_maps_of_maps_do_not_multiply() -> None:
    inner: dict[str, Any] = {"type": "integer"}
    for _ in range(20):
        inner = {"propertyNames": {"enum": ["a", "b", "c"]}, "additionalProperties": inner}
    with pytest.raises(CallerError, match="propertyNames"):
        held(inner)
