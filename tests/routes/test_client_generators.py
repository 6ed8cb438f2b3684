"""What makers of typed clients can read of the description: each shape here stopped one of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.openapi import SCHEMA, operations

Schema = dict[str, Any]
SHOWN = {"example", "examples", "default"}
OWN = {
    *("Any", "Client", "Dict", "File", "List", "Literal", "Response", "Type", "Union", "Unset"),
    *("Array", "Blob", "Date", "Error", "FormData", "Function", "Headers", "Map", "Object", "Record"),
    *("Configuration", "Json", "Promise", "Request", "Set", "URL"),
}
"""What Python, TypeScript and the clients' own modules call theirs."""
UNREADABLE: dict[str, Callable[[Schema], bool]] = {
    "an enumeration of other than words": lambda s: (
        "enum" in s and isinstance(s["enum"], list) and not all(isinstance(word, str) for word in s["enum"])
    ),
    "an enumeration without a type": lambda s: isinstance(s.get("enum"), list) and s.get("type") != "string",
    "a constant that is neither word nor number": lambda s: isinstance(s.get("const"), bool | list),
    "a constant without a type": lambda s: (
        "const" in s and not isinstance(s["const"], dict) and "type" not in s
    ),
    "a list of who knows what": lambda s: s.get("type") == "array" and "items" not in s,
    "nothing but null": lambda s: any(
        field.get("type") == "null" for field in s.get("properties", {}).values()
    ),
    "a choice beside fields": lambda s: "properties" in s and bool({"oneOf", "anyOf", "allOf"} & s.keys()),
    "a title, by which inner types are named": lambda s: isinstance(s.get("title"), str),
}


def schemas(value: Any, at: str = "") -> Iterator[tuple[str, Schema]]:
    if isinstance(value, dict):
        yield at, value
        for name, inner in value.items():
            if name not in SHOWN:
                yield from schemas(inner, f"{at}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from schemas(inner, f"{at}/{number}")


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_typed_client_can_be_made_of_the_description(fault: str) -> None:
    found = {part: SCHEMA[part] for part in ("paths", "components")}
    found["components"] = {name: kept for name, kept in found["components"].items() if name != "examples"}

    assert [at for at, schema in schemas(found) if UNREADABLE[fault](schema)] == []


def test_no_schema_has_a_name_that_clients_have_a_use_for() -> None:
    assert SCHEMA["components"]["schemas"].keys() & OWN == set()


def test_no_answer_is_read_as_json_that_is_none() -> None:
    """JSON beside an answer's own type is what made clients fail on a batch's output."""
    answers = {(m, path): found["responses"].get("200", {}) for m, path, found in operations()}
    schemas = {
        (*at, media): content.get("schema")
        for at, answer in answers.items()
        for media, content in answer.get("content", {}).items()
    }

    assert len(schemas) > 50
    assert [at for at, schema in schemas.items() if not schema] == []
