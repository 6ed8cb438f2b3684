"""Patterns that look ahead, as zod and checks of passwords do, cost nobody an answer held to them."""

import json
import re
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from api.dialects.formats import to_schema
from api.dialects.json_patterns import KNOWN, plain
from api.dialects.json_schema import FORMATS
from shared.errors import CallerError

DURATION, EMAIL = KNOWN
HOSTNAME = (
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$"
)


def held(schema: dict[str, Any]) -> Any:
    """What answers are held to."""
    return json.loads(to_schema(schema, "schema"))


def said(pattern: str) -> list[str]:
    """The patterns that stand there for this one."""
    schema = held({"type": "string", "pattern": pattern})
    return [part["pattern"] for part in (schema, *schema.get("allOf", ()))]


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        (DURATION, ["P", "T", "1", "1Y", "2M", "3D", "4W", "5H", "6S", ".7S", "\n"]),
        (EMAIL, ["a", "Z", ".", "'", "-", "@", "co", "@b."]),
        (HOSTNAME, ["a", "-", ".", "b" * 61, "c" * 200, "d.", "_"]),
        (r"^(?=.*[A-Z])(?=.*\d)[^ ]{3,}$", ["a", "A", "1", " ", "\n"]),
        (r"^(?=a$|b[)]c)(?:b|a)", ["a", "b", ")", "c", "|"]),
        (r"^(?=(?:a|b)\))(?=[^)]).*$", ["a", "b", ")", "c", ""]),
    ],
)
def test_a_pattern_that_looks_ahead_is_held_as_another_of_the_same_texts(
    pattern: str, pieces: list[str]
) -> None:
    others = said(pattern)
    assert not any("(?=" in other or "(?!" in other for other in others)
    read, reads = re.compile(pattern), [re.compile(other) for other in others]
    texts = {"".join(text) for count in range(6) for text in product(pieces, repeat=count)}
    found = {text for text in texts if read.search(text)}
    assert found
    assert found == {text for text in texts if all(other.search(text) for other in reads)}


def test_what_stood_in_all_of_a_schema_stays_where_references_find_it() -> None:
    schema = {"allOf": [{"minLength": 2}], "pattern": "^(?=a)b"}
    assert held(schema) == {"pattern": "^b", "allOf": [{"minLength": 2}, {"pattern": "^(?:a)"}]}


def test_a_part_that_looks_ahead_opens_no_object() -> None:
    parts = {"a": {"pattern": "^(?=a)(?=b)c"}}
    assert held({"type": "object", "properties": parts})["additionalProperties"] is False


@pytest.mark.parametrize(
    ("pattern", "sign"),
    [
        ("a(?=b)", "(?="),
        ("(?=a)b", "(?="),
        ("^(?=a)b|c", "(?="),
        ("^(?=a)?b", "(?="),
        ("^(?=a", "(?="),
        ("^(?=a(?!b))c", "(?!"),
        ("^(?!a)b", "(?!"),
        ("(?<=a)b", "(?<="),
        ("(?<!a)b", "(?<!"),
        (r"\bfoo", r"\b"),
        (r"(a)\1", r"\1"),
        (r"(?<a>b)\k<a>", r"\k"),
    ],
)
def test_a_pattern_that_cannot_be_held_is_refused_by_its_place_in_the_schema(pattern: str, sign: str) -> None:
    with pytest.raises(CallerError) as refused:
        held({"type": "object", "properties": {"v": {"pattern": pattern}}})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "schema.properties.v.pattern")
    assert f"has `{sign}`" in refused.value.message


def test_a_pattern_of_names_that_looks_around_is_refused_by_its_place_in_the_schema() -> None:
    with pytest.raises(CallerError, match=r"has `\(\?=`") as refused:
        held({"items": {"patternProperties": {"^(?=a)b": True}}})
    assert refused.value.param == "schema.items.patternProperties.^(?=a)b"


UNHELD = "^a(?!b)"


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$defs": {
                "unused": {"pattern": UNHELD, "items": {"$ref": "#/$defs/too"}},
                "too": {"pattern": UNHELD},
            }
        },
        {"definitions": {"unused": {"patternProperties": {UNHELD: True}}}, "type": "string"},
        {"items": {"type": "integer", "pattern": UNHELD}},
        {"type": ["integer", "null"], "pattern": UNHELD},
        {"type": "string", "patternProperties": {UNHELD: True}},
    ],
)
def test_a_pattern_that_nothing_is_held_to_costs_nobody_the_answer(schema: dict[str, Any]) -> None:
    assert held(schema) == schema


@pytest.mark.parametrize("place", ["$defs", "components"])
@pytest.mark.parametrize("kinds", [{}, {"type": ["null", "string"]}])
def test_a_pattern_that_a_reference_leads_to_is_held_or_refused(kinds: dict[str, Any], place: str) -> None:
    asked: dict[str, Any] = {
        "items": {"$ref": f"#/{place}/used"},
        place: {"used": {**kinds, "pattern": "^(?=a)b"}},
    }
    assert held(asked)[place] == {"used": {**kinds, "pattern": "^b", "allOf": [{"pattern": "^(?:a)"}]}}
    asked[place]["used"]["pattern"] = UNHELD
    with pytest.raises(CallerError, match=r"has `\(\?!`"):
        held(asked)


@pytest.mark.parametrize("pattern", [r"[(?=]\(?!", r"[\b\1]", r"\\b", r"[^](?=]", r"(?<a>b)(?:c)"])
def test_a_pattern_that_only_seems_to_look_is_left_to_who_reads_it(pattern: str) -> None:
    assert said(pattern) == [pattern]


@pytest.mark.parametrize("sign", ["(?=", "(?=a)", "(?=[", "[", "\\a", "("])
def test_a_pattern_is_looked_through_once(sign: str) -> None:
    """Where each sign led to another look at the rest, this would take minutes."""
    begun = process_time()
    plain("^" + sign * 2**16)
    assert process_time() - begun < 5


@pytest.mark.parametrize(
    "beside", [{"pattern": "^SKU-.*"}, {"allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}]
)
def test_a_format_that_only_names_its_pattern_is_no_reason_to_refuse(beside: dict[str, Any]) -> None:
    """As those of zod's startsWith(), cidrv4() and nanoid() do; to JSON Schema they are annotations."""
    assert held({"type": "string", "format": "starts_with", **beside}) == {"type": "string", **beside}


@pytest.mark.parametrize("kind", [{"type": "string"}, {"type": ["integer", "null"]}, {}])
@pytest.mark.parametrize("hint", ["int32", "int64", "float", "double", "password"])
def test_a_hint_of_openapi_is_taken_beside_any_type_and_asks_for_nothing(
    hint: str, kind: dict[str, Any]
) -> None:
    """The compiler knows the numeric ones beside numbers only; pydantic writes password for a secret text."""
    assert held({**kind, "format": hint}) == kind


@pytest.mark.parametrize("beside", [{}, {"allOf": [{"minLength": 1}]}, {"properties": {"pattern": {}}}])
def test_a_format_that_nothing_holds_is_refused(beside: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="or any beside a `pattern`") as refused:
        held({"type": "string", "format": "jwt", **beside})
    assert refused.value.param == "schema.format"


def test_the_page_names_the_formats_that_a_refusal_names() -> None:
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    said = page.partition("`format` may be ")[2].partition(".")[0]
    assert {*FORMATS} <= {*re.findall(r"[a-z0-9-]+", said)}
