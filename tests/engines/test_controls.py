"""Control characters that a schema itself asks for."""

from typing import Any

import pytest

from worker.engines.grammar.controls import named


@pytest.mark.parametrize(
    "schema",
    [
        {"const": "a\u0001"},
        {"enum": ["\u007f"]},
        {"properties": {"a\u0002b": {}}},
        {"required": ["a\u0003"]},
        {"patternProperties": {r"^\x01": {}}},
        {"items": {"pattern": r"\u0007"}},
    ],
    ids=repr,
)
def test_a_schema_that_names_a_control_character_may_have_it(schema: dict[str, Any]) -> None:
    assert named(schema)


@pytest.mark.parametrize(
    "schema", [{"description": "\u0001"}, {"const": "\\u0001"}, {"pattern": r"\\x01"}], ids=repr
)
def test_one_that_only_speaks_of_it_may_not(schema: dict[str, Any]) -> None:
    assert not named(schema)
