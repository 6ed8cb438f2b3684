"""Checks a finished answer once against its JSON Schema, and calls' arguments against their functions'.

llguidance lets some values through that a schema excludes; none of them reaches a caller as right. Formats
such as `email` are left to the grammar.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from llguidance import regex_to_lark
from referencing import Registry
from referencing.exceptions import Unresolvable

from shared.errors import CallerError
from shared.request import Request
from shared.result import Result
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import Reader
from worker.engines.grammar.lark import patterned, regular

# Processor time of one check: some schemas take a time that doubles with each level of an answer.
LIMIT_S = 1.0
TOO_COMPLEX = "is too complex to be checked against its schema"
Errors = Iterable[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Errors]

_deadline: ContextVar[float] = ContextVar("_deadline")


class OvertimeError(Exception):
    """The check took longer than LIMIT_S."""


def violation(request: Request, result: Result) -> str:
    """What is wrong with the first answer that breaks its format, in words; "" if none does.

    An answer that was cut off is not checked. Raises CallerError `invalid_request` if the schema has patterns
    that no grammar can hold an answer to.
    """
    for choice in result.choices:
        if (
            choice.finish_reason == "stop"
            and not choice.cut
            and (error := _error(request, result, choice.text))
        ):
            return error
    return ""


def _error(request: Request, result: Result, answer: str) -> str:
    reader = Reader(result.syntax)
    parts = [*reader.feed(answer), *reader.close()]
    calls = [part for part in parts if isinstance(part, ParsedCall)]
    schemas = {f.name: f.strict_schema for f in (request.tools.functions if request.tools else ())}
    for call in calls:
        if (schema := schemas.get(call.name)) and (error := mismatch(schema, call.arguments)):
            return _unless_looser(schema, "tools", f"A call of {call.name} {error}.")
    wanted = request.parameters.format
    if wanted is None or wanted.kind != "json" or calls:
        return ""
    error = mismatch(wanted.content, "".join(part for part in parts if isinstance(part, str)))
    return error and _unless_looser(wanted.content, "format", f"The answer {error}.")


def _unless_looser(schema: str, param: str, error: str) -> str:
    """Return the error. Raises CallerError if the grammar was looser than the schema's patterns."""
    if any(node["pattern"] != regular(node["pattern"]) for node in patterned(json.loads(schema))):
        advice = "Write its patterns without look-arounds, word boundaries and back references."
        raise CallerError("invalid_request", f"{error} {advice}", param=param)
    return error


def mismatch(schema: str, text: str) -> str:
    """Why the JSON `text` is no value of the schema, as the end of a sentence; "" if it is one."""
    token = _deadline.set(time.thread_time() + LIMIT_S)
    try:
        # Decimals, because 0.3 is no multiple of 0.1 among doubles.
        value = json.loads(text, parse_float=Decimal)
        validator = _validator(json.loads(schema).get("$schema"))
        rules = json.loads(schema, parse_float=Decimal, object_hook=_without_draft)
        errors = validator(rules, registry=Registry()).iter_errors(value)
        error = next(errors, None)
    except ValueError:
        return "is not JSON"
    except (OvertimeError, RecursionError, DecimalException, Unresolvable):
        return TOO_COMPLEX
    finally:
        _deadline.reset(token)
    return (
        "" if error is None else f"breaks its schema's `{error.schema_path[-1]}` at {error.json_path[:200]}"
    )


def _without_draft(node: dict[str, Any]) -> dict[str, Any]:
    """jsonschema would change to its own validator of that draft, which has no time limit."""
    return {name: value for name, value in node.items() if name != "$schema" or not isinstance(value, str)}


@lru_cache(maxsize=16)
def _validator(draft: str | None) -> Any:
    """The class for a draft, with keywords that keep to LIMIT_S, and patterns as llguidance reads them."""
    base = validator_for({"$schema": draft} if draft else {}, default=Draft202012Validator)
    keywords = base.VALIDATORS | {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    if "prefixItems" in keywords:
        keywords["items"] = _older_items(keywords["items"])
    return extend(base, {name: _limited(name, keyword) for name, keyword in keywords.items()})


def _limited(name: str, keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
        _keep_to_limit()
        # Draft 4's boolean means nothing to later drafts.
        if isinstance(value, bool) and name.startswith("exclusive"):
            return ()
        return keyword(validator, value, instance, schema)

    return check


def _keep_to_limit() -> None:
    if time.thread_time() > _deadline.get():
        raise OvertimeError


def _older_items(keyword: Keyword) -> Keyword:
    """Generators still write the list of older drafts."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
        if not isinstance(value, list):
            yield from keyword(validator, value, instance, schema) or ()
        elif isinstance(instance, list):
            for index, (item, part) in enumerate(zip(instance, value, strict=False)):
                yield from validator.descend(item, part, path=index, schema_path=index)

    return check


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Errors:
    if isinstance(instance, str) and _matches(pattern, instance) is False:
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, _: Any) -> Errors:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, others: Any, instance: Any, schema: dict[str, Any]) -> Errors:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", ())
    for name in instance.keys() - schema.get("properties", {}).keys():
        if all(_matches(pattern, name) is False for pattern in patterns):
            yield from validator.descend(instance[name], others, path=name)


def _matches(pattern: str, text: str) -> bool | None:
    """None for a pattern that only llguidance can read, which has enforced it."""
    _keep_to_limit()
    try:
        # Rust's sets of characters, and \d as [0-9].
        compiled = regex.compile(regex_to_lark(pattern, "dw"), regex.VERSION1)
        return compiled.search(text, timeout=LIMIT_S, concurrent=True) is not None
    except (regex.error, ValueError):
        return None if regular(pattern) == pattern else False
    except TimeoutError:
        raise OvertimeError from None
