"""Reads the format that an answer must have, under each name that clients use, into one `Format`.

    response_format     OpenAI: {"type": "text" | "json_object"}, {"type": "json_schema", "json_schema": …};
                        Hugging Face: {"type": "json" | "regex" | "json_schema", "value": …};
                        ours: {"type": "choice", "value": …};
                        llama.cpp: {"type": "json_object" | "json_schema", "schema": …}
    grammar             Hugging Face: {"type": "json" | "json_object" | "regex" | "json_schema", "value": …}
    structured_outputs  vLLM: {"json": …}, {"regex": …}, {"choice": …}, {"grammar": …}, {"json_object": true}
    guided_json         and guided_regex, guided_choice, guided_grammar: what is in an object above
    regex, ebnf         SGLang: the same
    text.format         OpenAI's Responses: as `response_format`, what is inside "json_schema" beside the type

huggingface_hub sends a schema as {"type": "json_object", "value": …} if the model is a URL.
"""

import json
import re
from typing import Any, Literal

from pydantic import Field

from api.dialects.json_schema import COMBINING, MAX_LITERAL, check_schema, closed, is_whole
from api.dialects.strict_json import RequestBody, invalid, parse, read, render
from api.dialects.unknown_fields import STRUCTURED
from shared.errors import CallerError
from shared.request import Format

MAX_BYTES = 64 * 2**10
# Its translation from GBNF takes a time that grows with the square of it.
MAX_GRAMMAR = 8 * 2**10
MAX_CHOICES = 1000
MAX_CHOICE = 256
ANY_OBJECT = {"type": "object"}
LOOK_AROUND = re.compile(r"(?<!\\)\(\?<?[=!]")

FIELDS: dict[str, tuple[str, ...]] = {
    "text": (),
    "json_schema": ("json_schema", "schema", "value"),
    "json_object": ("schema", "value"),
    "json": ("value",),
    "regex": ("value",),
    "choice": ("value",),
}
"""The fields that each type of a `response_format` may have."""


class JsonSchema(RequestBody):
    """An answer must match its schema whatever `strict` says; name and description are ignored."""

    schema_: dict[str, Any] = Field(alias="schema")
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(RequestBody):
    type: Literal["text", "json_object", "json_schema", "json", "regex", "choice"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    value: str | dict[str, Any] | list[str] | None = None


class Grammar(RequestBody):
    type: Literal["json", "json_object", "regex", "json_schema"]
    value: str | dict[str, Any]


class TextFormat(RequestBody):
    """A `ResponseFormat` whose schema is a field of its own."""

    type: Literal["text", "json_object", "json_schema"]
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    name: str | None = Field(default=None, max_length=64)
    description: str | None = Field(default=None, max_length=1024)
    strict: bool | None = None


class StructuredOutputs(RequestBody):
    constraints = STRUCTURED
    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


def to_format(value: ResponseFormat | TextFormat | Grammar | StructuredOutputs, param: str) -> Format | None:
    """None if any text will do. Raises CallerError naming the field."""
    if isinstance(value, StructuredOutputs):
        return _structured(value, param)
    fields = value.model_dump(by_alias=True, exclude_none=True, include={"json_schema", "schema_", "value"})
    for number, name in enumerate(fields):
        if name not in FIELDS[value.type]:
            raise invalid(render([name], param), f"says nothing beside the type {value.type}")
        if number:
            raise invalid(render([name], param), f"is sent beside `{next(iter(fields))}`; send one of them")
    if value.type == "text":
        return None
    if value.type == "json_object":
        fields = fields or {"schema": ANY_OBJECT}
    if not fields:
        needed = "schema" if isinstance(value, TextFormat) else FIELDS[value.type][0]
        raise invalid(render([needed], param), "is required")
    [(name, content)] = fields.items()
    at = render([name], param)
    if name != "schema" and value.type == "json_schema":
        return _json(read(JsonSchema, content, at).schema_, render(["schema"], at))
    return of_kind("json" if name == "schema" or value.type == "json_object" else value.type, content, at)


def to_schema(value: dict[str, Any], param: str) -> str:
    """A function's schema to be enforced, as JSON text. Raises CallerError naming the field."""
    return _json(value, param).content


def _structured(value: StructuredOutputs, param: str) -> Format | None:
    fields = value.model_dump(by_alias=True)
    constraints = {
        name: content for name, content in fields.items() if content is not None and content is not False
    }
    if len(constraints) != 1:
        raise invalid(param, "takes one of json, regex, choice, grammar and json_object")
    [(name, content)] = constraints.items()
    at = render([name], param)
    return _json(ANY_OBJECT, at) if name == "json_object" else of_kind(name, content, at)


def of_kind(kind: str, value: Any, param: str) -> Format:
    """Raises CallerError."""
    return {"json": _json, "regex": _regex, "choice": _choice, "grammar": _grammar}[kind](value, param)


def _json(value: Any, param: str) -> Format:
    """Hugging Face's page also sends a schema as text, and properties without the type that has them.

    Keys keep their order: answers follow it.
    """
    schema = _parsed(value, param) if isinstance(value, str) else value
    if not isinstance(schema, dict):
        raise invalid(param, "should be a JSON Schema: an object")
    if "properties" in schema and not schema.keys() & {"type", *COMBINING}:
        schema = {"type": "object", **schema}
    # Its size first: walking through a schema that is too large would block every request.
    _serialised(schema, param)
    check_schema(schema, param)
    return Format(kind="json", content=_serialised(closed(schema), param))


def _parsed(text: str, param: str) -> Any:
    try:
        return parse(text.encode())
    except CallerError:
        raise invalid(param, "should be a JSON Schema: an object, or its text") from None


def _regex(value: Any, param: str) -> Format:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_LITERAL:
        raise invalid(param, f"should be a regular expression of 1 to {MAX_LITERAL} characters")
    if LOOK_AROUND.search(value):
        raise invalid(param, "looks ahead or behind, which no answer can be held to; write it without")
    if not is_whole(value):
        raise invalid(param, "ends in a backslash that escapes nothing")
    return Format(kind="regex", content=value)


def _grammar(value: str, param: str) -> Format:
    if not 1 <= len(value) <= MAX_GRAMMAR:
        raise invalid(param, f"should be a grammar in Lark or GBNF of 1 to {MAX_GRAMMAR} characters")
    return Format(kind="grammar", content=value)


def _choice(value: Any, param: str) -> Format:
    """The choices, sorted, because their order means nothing."""
    fits = isinstance(value, list) and 1 <= len(value) <= MAX_CHOICES
    if not fits or not all(isinstance(c, str) and 1 <= len(c) <= MAX_CHOICE for c in value):
        words = f"should be a list of 1 to {MAX_CHOICES} texts of 1 to {MAX_CHOICE} characters"
        raise invalid(param, words)
    return Format(kind="choice", content=_serialised(sorted(set(value)), param))


def _serialised(value: Any, param: str) -> str:
    content = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(content.encode()) > MAX_BYTES:
        raise invalid(param, f"is longer than {MAX_BYTES // 1024} KiB")
    return content
