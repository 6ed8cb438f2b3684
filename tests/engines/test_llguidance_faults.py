"""Faults of llguidance. A test that passes says that it is repaired there: delete it.

A wrong answer that one lets through ends `format_violated`.
"""

import json
from typing import Any

import pytest
from llguidance import LLMatcher

from tests.support import grammars


def accepts(schema: dict[str, Any], text: str) -> bool:
    return grammars.accepted_by(LLMatcher.grammar_from_json_schema(json.dumps(schema)), [text]) == [text]


def refuses(schema: dict[str, Any], text: str) -> bool:
    return not accepts(schema, text)


@pytest.mark.xfail(
    strict=True, reason="An excluded whole number passes if the other bound is less than 1 away."
)
def test_an_exclusive_bound_is_excluded() -> None:
    assert refuses({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0")


@pytest.mark.xfail(strict=True, reason="A multiple whose decimals begin those of a bound is never written.")
def test_a_multiple_just_below_a_bound_can_be_written() -> None:
    assert accepts({"type": "number", "multipleOf": 0.1, "maximum": 0.95}, "0.9")


@pytest.mark.xfail(
    strict=True, reason="Multiples of 0.25 are written with two digits, so the literal 0.5 is none."
)
def test_a_literal_next_to_a_factor_can_be_written() -> None:
    assert accepts({"enum": [0.5, "a"], "multipleOf": 0.25}, "0.5")


@pytest.mark.xfail(
    strict=True, reason="A factor is multiplied as a double until it is whole: 0.07 has 16 digits."
)
def test_a_factor_that_no_double_is_can_be_used() -> None:
    assert accepts({"type": "number", "multipleOf": 0.07}, "0.14")


@pytest.mark.xfail(
    strict=True, reason="Only branches of strings and booleans are known to exclude each other."
)
def test_a_one_of_of_different_numbers_can_be_used() -> None:
    assert accepts({"oneOf": [{"const": 1}, {"const": 2}]}, "1")


@pytest.mark.xfail(strict=True, reason="A whole number beyond 2**53 is rounded to a double.")
def test_a_large_literal_is_written_as_it_is() -> None:
    assert accepts({"const": 2**53 + 1}, str(2**53 + 1))


@pytest.mark.xfail(strict=True, reason="In a class of characters a bracket begins another class, as in Rust.")
def test_a_bracket_in_a_class_is_a_character() -> None:
    assert accepts({"type": "string", "pattern": "^[[]$"}, '"["')


@pytest.mark.xfail(strict=True, reason="In a class of characters && intersects two classes, as in Rust.")
def test_ampersands_in_a_class_are_characters() -> None:
    assert accepts({"type": "string", "pattern": "^[a-z&&b]$"}, '"&"')


@pytest.mark.xfail(strict=True, reason="A pattern cannot look ahead.")
def test_a_pattern_may_look_ahead() -> None:
    assert accepts({"type": "string", "pattern": r"^(?!\.)[a-z.]+$"}, '"a.b"')


@pytest.mark.xfail(strict=True, reason="A second 60 is a time, although few parsers read one.")
def test_a_time_is_one_for_parsers() -> None:
    assert refuses({"type": "string", "format": "time"}, '"23:59:60Z"')


@pytest.mark.xfail(strict=True, reason="A name with an escaped letter is taken for another property.")
def test_an_escaped_name_is_the_name() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True}
    assert refuses(schema, r'{"\u0061":"x"}')


@pytest.mark.xfail(strict=True, reason="propertyNames is not implemented.")
def test_the_names_of_a_map_can_be_listed() -> None:
    assert accepts({"type": "object", "propertyNames": {"enum": ["a"]}}, '{"a":1}')
