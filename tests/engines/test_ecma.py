"""What is taken by a pattern of a schema is what JavaScript and Python take by it."""

import json
import re
import warnings
from itertools import product
from string import printable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from tests.support import grammars
from worker.engines.grammar.compiler import SPACING
from worker.engines.grammar.ecma import rename
from worker.engines.grammar.lark import spaced

SIGNS = printable.strip() + " "
IN_CLASSES = (
    *("a", "b", "-", "[", "]", "&", "&&", "~~", "--", "^", "[:", ":]", "{2}", '"'),
    r"\d",
    r"\]",
    r"\\",
)
OUTSIDE = ("a", "b", "{", "}", "{2}", "{1,}", "{,2}", "{1,2}", "{ 2 }", "{a}", "[{]", "]", "?", "|")
SHORT = ["".join(text) for length in range(4) for text in product("ab{} 2", repeat=length)]


def taken(schema: Any, texts: list[str]) -> set[str]:
    grammar = LLMatcher.grammar_from_json_schema(spaced(schema, SPACING))
    return {*grammars.taken(grammar, texts)}


def held(pattern: str, texts: list[str]) -> set[str]:
    quoted = {json.dumps(text, ensure_ascii=False): text for text in texts}
    return {quoted[said] for said in taken({"type": "string", "pattern": f"^(?:{pattern})$"}, [*quoted])}


def by_python(pattern: str, texts: list[str]) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiled = re.compile(pattern, re.ASCII)
    return {text for text in texts if compiled.fullmatch(text)}


def readable(pattern: str) -> bool:
    try:
        by_python(pattern, [])
    except re.error:
        return False
    return True


@given(st.lists(st.sampled_from(IN_CLASSES), min_size=1, max_size=7).map("".join))
def test_a_class_takes_the_signs_that_it_names_and_no_others(inside: str) -> None:
    pattern = f"[{inside}]"
    assume(readable(pattern))
    texts = [*SIGNS, *(sign + "]" for sign in SIGNS)]
    wanted = by_python(pattern, texts)
    assume(wanted)
    assert held(pattern, texts) == wanted


@given(st.lists(st.sampled_from(OUTSIDE), min_size=1, max_size=5).map("".join))
def test_braces_that_count_nothing_are_braces(pattern: str) -> None:
    assume(readable(pattern))
    wanted = by_python(pattern, SHORT)
    assume(wanted)
    assert held(pattern, SHORT) == wanted


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "^[a-z[:alpha:]]$",
            "^[a-z&&[^b]]$",
            "^[&&]$",
            "^[^[]$",
            "^[!--]$",
            "^a{,2}$",
            r'^[^"\\]$',
            "^[^A-z]$",
        ),
        *(r"^[^\d\\]$", r"^[\x00-!]$", r"^[\0-!\u0000-Z]$", "^[\0-!]$", r"^[^\x00- ]$"),
    ],
)
def test_an_answer_by_a_pattern_is_valid_for_a_reader_in_python(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    texts = [json.dumps(text) for text in ("", *SIGNS, "aa", "aaa", "a]", "&]", ":]")]
    found = taken(schema, texts)
    assert found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert all(Draft202012Validator(schema).is_valid(json.loads(text)) for text in found)


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"\ud83d\ude00+", "\U0001f600\U0001f600", "\U0001f601"),
        (r"[\ud83d\ude00-\ud83d\ude0F]", "\U0001f601", "\U0001f610"),
        (r"\\ud83d", r"\ud83d", "\\"),
        (r"\u{0001F600}", "\U0001f600", "u"),
        (r"a\0[\0]", "a\0\0", "a0"),
        (r"\<[\>]", "<>", "<"),
        (r"[.-\w]", "-", "A]"),
        (r"[\d-a]", "-", "b"),
        (r"\s", "\ufeff", "\x85"),
        (r"\S", "\x85", "\ufeff"),
        (r"[^\S]", "\ufeff", "\x85"),
        (r"[\s\S]+", '"\ufeff', ""),
    ],
)
def test_what_generators_in_javascript_write_is_read_as_there(pattern: str, right: str, wrong: str) -> None:
    assert held(pattern, [right, wrong]) == {right}


def test_patterns_of_names_are_read_alike_and_none_takes_another_ones_place() -> None:
    number = {"type": "integer"}
    schema = {"type": "object", "patternProperties": {"^[a&&b]$": number}, "additionalProperties": False}
    texts = [json.dumps({name: 1}, separators=(",", ":")) for name in "ab&c"]
    assert taken(schema, texts) == {*texts[:3]}
    twice = {"patternProperties": {"^[a&]$": number, r"^[a\&]$": {"maximum": 5}}}
    with pytest.raises(AssertionError, match="disjoint"):
        taken({"type": "object", **twice}, [])


def test_names_that_are_spelled_alike_cost_no_worker_its_time() -> None:
    """Else a small schema with many of them becomes one of megabytes."""
    signs = [[""], *([r"&", r"\&"] for _ in range(11))]
    named = {f"[{''.join(spelling)}]": True for spelling in product(*signs)}
    schema: dict[str, Any] = {"patternProperties": named}
    rename(schema)
    assert len(schema["patternProperties"]) == len(named)
    assert max(map(len, schema["patternProperties"])) < 50


def test_a_range_of_nothing_but_its_first_sign_is_a_class() -> None:
    assert taken({"type": "string", "pattern": r"^[\x00-\x00a]$"}, ['"a"', '"b"']) == {'"a"'}
