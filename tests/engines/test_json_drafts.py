"""A schema is held whatever it says of itself: its draft, its name, the names of its parts."""

import json
from typing import Any

import pytest

from api.dialects.formats import to_schema
from shared.errors import CallerError
from tests.engines.test_bounds import taken

LATEST = "https://json-schema.org/draft/2020-12/schema"
OLDER = "http://json-schema.org/draft-{}/schema#"
DRAFT_4 = OLDER.format("04")
WORD = {"type": "string"}
PAIR = ('{"a":"x","b":"y"}', '{"a":"x","b":1}')


def answers(schema: Any, *texts: str) -> set[str]:
    return taken(json.loads(to_schema(schema, "schema")), texts)


@pytest.mark.parametrize(
    "draft",
    [
        *(LATEST, "https://json-schema.org/draft/2019-09/schema", *map(OLDER.format, ("07", "06", "04"))),
        *("http://json-schema.org/schema#", "https://spec.openapis.org/oas/3.1/dialect/base", "a b", 5),
    ],
)
def test_no_draft_that_a_schema_names_lets_an_answer_through_or_refuses_one(draft: Any) -> None:
    const = {"$schema": draft, "const": True}
    assert answers({"$schema": draft, "type": "array", "prefixItems": [const]}, "[true]", "[false]") == {
        "[true]"
    }


def pair(first: dict[str, Any], second: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"properties": {"a": first, "b": second}, "required": ["a", "b"], **beside}


@pytest.mark.parametrize(
    "schema",
    [
        pair({**WORD, "$id": "a b", "$dynamicAnchor": "c"}, {**WORD, "$recursiveAnchor": True}),
        # Two of one name, and one of the name of the whole.
        pair({**WORD, "$id": "http://x/y"}, {**WORD, "$id": "http://x/y"}, **{"$id": "http://x/y"}),
        pair({**WORD, "$id": ""}, {**WORD, "$id": "#"}),
        pair({**WORD, "$anchor": "w"}, {"$ref": "#w"}),
        pair({**WORD, "$dynamicAnchor": "w"}, {"$ref": "#w"}),
        pair({**WORD, "$anchor": "v", "$dynamicAnchor": "w"}, {"$ref": "#w"}),
        pair({**WORD, "$id": "#w"}, {"$ref": "#w"}),
        pair({**WORD, "id": "#w"}, {"$ref": "#w"}, **{"$schema": DRAFT_4}),
        pair(
            {"$anchor": "w", **WORD},
            {"$ref": "#w"},
            **{"$defs": {"p": {"$id": "p", "items": {"$anchor": "w"}}}},
        ),
        # An empty name is none, nor is one beside a reference in the drafts in which it stands alone.
        pair(WORD, {"$id": "", "$ref": "#/properties/a"}),
        pair(WORD, {"$id": "b", "$ref": "#/properties/a"}, **{"$schema": OLDER.format("07")}),
        pair(WORD, {"id": "b", "$ref": "#/properties/a"}, **{"$schema": DRAFT_4}),
        pair({"$ref": "#/$defs/w", "id": "#v"}, {"$ref": "#v"}, **{"$schema": DRAFT_4, "$defs": {"w": WORD}}),
    ],
)
def test_what_a_part_is_called_changes_nothing_but_where_references_lead(schema: dict[str, Any]) -> None:
    assert answers(schema, *PAIR) == {PAIR[0]}


@pytest.mark.parametrize(("name", "draft"), [("$id", LATEST), ("id", DRAFT_4)])
def test_no_reference_of_a_part_with_a_name_of_its_own_is_read_as_the_wholes(name: str, draft: str) -> None:
    """The names of its properties were those that the whole has in this place."""
    part = {name: "part", "$defs": {"k": {"enum": ["b"]}}, "propertyNames": {"$ref": "#/$defs/k"}}
    schema = {"$schema": draft, "$defs": {"k": {"enum": ["a"]}}, "properties": {"m": part}}
    with pytest.raises(CallerError) as refused:
        to_schema(schema, "schema")
    assert refused.value.code == "invalid_request"
    assert refused.value.param == "schema.properties.m.propertyNames.$ref"


@pytest.mark.parametrize(
    "own", [{"disallow": ["string"]}, {"extends": {"type": "integer"}}, {"divisibleBy": 2}]
)
def test_a_word_of_draft_3_that_is_not_held_is_refused_where_it_stands(own: dict[str, Any]) -> None:
    schema = {"type": "array", "items": own}
    with pytest.raises(CallerError) as refused:
        to_schema({"$schema": OLDER.format("03"), **schema}, "schema")
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == f"schema.items.{next(iter(own))}"
    assert to_schema({"$schema": LATEST, **schema}, "schema")
