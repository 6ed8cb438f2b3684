"""Parses JSON from strangers: strictly, with limits checked before they cost anything, and one typed error.

The standard parser accepts NaN, 1e999 and lone surrogates, which cannot be encoded again in an answer, and
15 MB of `[{},{},…]` cost a second and 280 MB; see RFC 8259 sections 8.2 and 9 on what a parser may limit."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, from_json

from shared.errors import CallerError

MAX_DEPTH = 64
# A conversation has three or four values to each turn; handling each takes tens of microseconds in all.
MAX_ELEMENTS = 20_000
# Characters of a refusal's reason: the longest list of a field's allowed values is shorter.
LONGEST_REASON = 500

# RFC 8259, section 8.1: a parser may skip the mark that some editors write.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Runs to the end of the body where a quote is never closed: a second try from the next quote would make
# the scan quadratic.
_STRING = re.compile(rb'"[^"]*+(?:"|\Z)')

# A form, as multipart/form-data or as application/x-www-form-urlencoded: no JSON begins like either. The
# latter must be text throughout: `GIF89a=` may begin a picture 61 pixels wide.
_FORM = re.compile(rb"(?:\r\n)?--[^\r\n]+\r?\n(?i:content-)|[\w.%+\[\]-]{1,100}=(?=[^=])[\x20-\x7e\r\n]*\Z")


def whole(value: Any) -> Any:
    """A number without a fraction is an integer however it is written (JSON Schema 2020-12, section 4.2.3):
    all numbers of Lua, R and some of PHP are floats.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Wire(BaseModel):
    """A JSON object as a caller sends it: exact types, unknown fields refused, null the same as left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    _whole = field_validator("*", mode="before")(whole)


Body = TypeVar("Body", bound=Wire)


def parse(body: bytes) -> Any:
    """Raises CallerError `invalid_json`, or `payload_too_large` for more than MAX_ELEMENTS values."""
    if is_form(body):
        message = (
            "The body is a form. Send JSON instead (`json=` of Python's requests); to a model's own URL the "
            "picture's bytes alone will do (`data=`)."
        )
        raise CallerError("invalid_json", message)
    if _elements(body) > MAX_ELEMENTS:
        message = f"The body holds more than {MAX_ELEMENTS} JSON values; send fewer."
        raise CallerError("payload_too_large", message)
    try:
        value = from_json(body.removeprefix(_BYTE_ORDER_MARK), allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise CallerError("invalid_json", f"The body is not valid JSON: {str(error)[:200]}.") from None
    _check_depth_and_numbers(value)
    return value


def is_form(body: bytes) -> bool:
    """Whether a body begins like a form; its content type does not tell, as curl calls everything a form."""
    return _FORM.match(body[:256]) is not None


def read(model: type[Body], value: Any, at: str = "") -> Body:
    """Read one object of a parsed body; `at` is its path. Raises CallerError naming the field."""
    if not isinstance(value, dict):
        where = f"`{at}`" if at else "The body"
        raise CallerError("invalid_request", f"{where} should be a JSON object.", param=at or None)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise caller_error(error, value, at) from None


def caller_error(error: ValidationError, value: Any, at: str) -> CallerError:
    """The one error a caller reads: the first, at its deepest path where a union reports several."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    paths = [_resolve(detail, value) for detail in details]
    nearby = [i for i, path in enumerate(paths) if path[: len(paths[0])] == paths[0]]
    deepest = max(len(paths[i]) for i in nearby)
    chosen = [i for i in nearby if len(paths[i]) == deepest]
    param = render(paths[chosen[0]], at)
    if details[chosen[0]]["type"] == "extra_forbidden":
        message = f"`{param}` is not a field of this request; remove it."
        return CallerError("unknown_field", message, param=param)
    reasons = dict.fromkeys(_reason(details[i]) for i in chosen if paths[i] == paths[chosen[0]])
    return CallerError("invalid_request", f"`{param}` {', or '.join(reasons)}.", param=param)


def render(path: Sequence[str | int], at: str = "") -> str:
    """A path as callers read it: `messages[0].content[1].image_url.url`, cut at 200 characters."""
    text = at
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step[:80]}" if text else step[:80]
    return text if len(text) <= 200 else text[:199] + "…"


def _elements(body: bytes) -> int:
    """Count objects, lists and commas outside strings, and strings, until they are too many.

    A member of an object has at most two strings and one comma: more of them alone mean too many values.
    """
    if _structural(body, 0, len(body)) <= MAX_ELEMENTS:
        return 0
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    count = at = 0
    for number, string in enumerate(_STRING.finditer(plain)):
        count += _structural(plain, at, string.start())
        at = string.end()
        if count > MAX_ELEMENTS or number > 2 * MAX_ELEMENTS:
            return MAX_ELEMENTS + 1
    return count + _structural(plain, at, len(plain))


def _structural(body: bytes, start: int, end: int) -> int:
    return sum(body.count(sign, start, end) for sign in (b"{", b"[", b","))


def _check_depth_and_numbers(value: Any) -> None:
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        nested = False
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
                nested = True
            elif isinstance(item, list):
                below.extend(item)
                nested = True
            elif isinstance(item, float) and not math.isfinite(item):
                raise CallerError("invalid_json", "The body is not valid JSON: a number is too large.")
        depth += nested
        if depth > MAX_DEPTH:
            raise CallerError("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")
        level = below


def _resolve(detail: ErrorDetails, value: Any) -> list[str | int]:
    """The part of pydantic's location that exists in the input; union tags do not."""
    path: list[str | int] = []
    last = len(detail["loc"]) - 1
    for number, step in enumerate(detail["loc"]):
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, dict) and step in value):
            value = value[step]
        elif detail["type"] != "missing" or number != last:
            continue
        path.append(step)
    return path


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "missing":
        return "is required"
    if detail["type"] in ("model_type", "dict_type"):
        return "should be a JSON object"
    if detail["type"] == "too_short":
        return "should not be empty"
    message = detail["msg"].replace("Input should", "should", 1)
    return message if len(message) <= LONGEST_REASON else f"{message[:LONGEST_REASON]}…"


# Errors that every dialect raises for a field, each naming it.


def invalid(param: str, reason: str) -> CallerError:
    return CallerError("invalid_request", f"`{param}` {reason}.", param=param)


def unknown(param: str) -> CallerError:
    return CallerError("unknown_field", f"`{param}` is not a field of this request; remove it.", param=param)


def unsupported(param: str) -> CallerError:
    message = f"`{param}` is not implemented for this value; leave it out."
    return CallerError("unsupported_parameter", message, param=param)


def unsupported_kind(param: str, value: object) -> CallerError:
    """For a required field such as `type`: it cannot be left out alone, only with the object around it."""
    whole = param.rpartition(".")[0]
    advice = f"leave `{whole}` out" if whole else "send another"
    message = f"`{param}` {value!r:.80} is not implemented; {advice}."
    return CallerError("unsupported_parameter", message, param=param)


# Documented parameters that are known by name but not implemented: which of their values ask for nothing.


class Harmless:
    """Marks a field that is not implemented, with the values that are taken all the same."""

    def __init__(self, *values: Any) -> None:
        self.values = values


@cache
def harmless(body: type[Wire]) -> Mapping[str, tuple[Any, ...]]:
    """The values that ask for nothing, by field."""
    marks = {name: mark for name, field in body.model_fields.items() for mark in field.metadata}
    return {name: mark.values for name, mark in marks.items() if isinstance(mark, Harmless)}


def refuse_unsupported(body: Wire, at: str = "") -> None:
    """Refuse parameters that would change the answer but are not implemented, those of objects within too.

    Raises CallerError `unsupported_parameter`.
    """
    taken, given = harmless(type(body)), body.model_fields_set
    for name in (name for name in type(body).model_fields if name in given):
        value = getattr(body, name)
        if isinstance(value, Wire):
            refuse_unsupported(value, render([name], at))
        elif value is not None and name in taken and value not in taken[name]:
            raise unsupported(render([name], at))


# Base of the bodies that ask a model something: null under an unknown name is ignored.


class Asking(Wire):
    """Clients that dump a whole request of another service send what it does not ask for as null.

    So null asks for nothing under an unknown name, too: a misspelt name hides nothing by it.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: held for name, held in value.items() if name in cls.model_fields or held is not None}


# Parts of conversations that callers send back, with fields that other services and clients have added.

NOTHING: tuple[Any, ...] = (None, [], {})
UNREAD = "cache_control"
"""Anthropic's mark for what to cache: on other services it speeds an answer up, and never changes it."""


def _open(schema: dict[str, Any]) -> None:
    """Leave unknown fields out: generators of typed clients could not express what they may hold."""
    del schema["additionalProperties"]


class Replayed(Wire):
    """A piece of a conversation, or a function: an unknown field is refused unless it holds nothing."""

    model_config = ConfigDict(json_schema_extra=_open)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() <= cls.model_fields.keys():
            return value
        return {name: held for name, held in value.items() if name in cls.model_fields or _asks(name, held)}


def _asks(name: str, held: Any) -> bool:
    return name != UNREAD and held not in NOTHING
