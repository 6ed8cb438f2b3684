"""Answers by status, with their headers, shapes and examples."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from api.description.batch_examples import BATCHES
from api.description.examples import ANSWERS, ERRORS
from api.description.response_examples import RESPONSES
from api.description.webhook_examples import WEBHOOKS
from api.dialects import hf_answers, native, openai_errors
from api.wire.sse import DONE
from shared.errors import CODES

REF = "#/components/schemas/"
Responses = dict[int | str, dict[str, Any]]
Family = Literal["Problem", "OpenAIError", "HuggingFaceError"]

_RENDER = {
    "Problem": lambda error: native.to_problem(error, "req_0123456789abcdef0123456789abcdef"),
    "OpenAIError": openai_errors.to_error,
    "HuggingFaceError": hf_answers.to_error,
}

# FastAPI drops nulls from the examples it is given, so these are components, added after it has run.
EXAMPLES = {name: {"value": value} for name, value in (ANSWERS | RESPONSES | WEBHOOKS | BATCHES).items()} | {
    f"{family}-{status}": {"value": render(error)}
    for family, render in _RENDER.items()
    for status, error in ERRORS.items()
}

JOB_HEADERS = ("x-job-id", "x-cache", "x-compute-time", "x-queue-time")
"""Headers of an answer that names a job; the times are set once it has ended."""

HEADERS: dict[str, dict[str, Any]] = {
    "x-request-id": {"description": "The call's own where it sent a sane one.", "schema": {"type": "string"}},
    "x-job-id": {
        "description": "The job that answers; of several prompts all of them, with commas between.",
        "schema": {"type": "string"},
    },
    "x-cache": {
        "description": "Where the answer comes from.",
        "schema": {"type": "string", "enum": ["HIT", "MISS", "COALESCED", "BYPASS"]},
    },
    "x-compute-time": {"description": "Seconds of computing.", "schema": {"type": "number"}},
    "x-queue-time": {"description": "Seconds before it began.", "schema": {"type": "number"}},
    "location": {"description": "The job's path.", "schema": {"type": "string"}},
    "retry-after": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 59},
    },
    "x-should-retry": {
        "description": "`false` where a repeat cannot help.",
        "schema": {"type": "string", "enum": ["false"]},
    },
    "www-authenticate": {
        "description": "How to say who calls.",
        "schema": {"type": "string", "const": "Bearer"},
    },
    "ratelimit-policy": {
        "description": "Requests that the key may make, and in how many seconds; how many runs of its caller "
        "may wait for one model (`queued`).",
        "schema": {"type": "string", "examples": ['"requests";q=600;w=60']},
    },
    "ratelimit": {
        "description": "How many are left, and in how many seconds the first request made no longer counts.",
        "schema": {"type": "string", "examples": ['"requests";r=412;t=37']},
    },
    "x-error-message": {"description": "The error's text in one line.", "schema": {"type": "string"}},
}


def ref(shape: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF + shape.__name__}


def one_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


def listed(shape: type[BaseModel]) -> dict[str, Any]:
    return {"type": "array", "items": ref(shape)}


def answer(
    description: str, schema: dict[str, Any] | None = None, *examples: str, headers: Sequence[str] = ()
) -> dict[str, Any]:
    """One response in JSON, its examples by name; without a body where there is no schema."""
    found: dict[str, Any] = {"description": description, "headers": _headers("x-request-id", *headers)}
    if schema is not None:
        found["content"] = {"application/json": {"schema": schema, "examples": _examples(*examples)}}
    return found


def streamed(found: dict[str, Any], item: type[BaseModel], example: bytes) -> dict[str, Any]:
    """The same response, or a stream whose events hold an `item` each, or the error that ends them."""
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": one_of(ref(item), {"$ref": REF + "StreamError"}),
    }
    if example.endswith(DONE):
        data = one_of({"type": "string", "const": "[DONE]"}, data)
    event = {
        "type": "object",
        "description": "One event; the stream has any number.",
        "required": ["data"],
        "properties": {"data": data, "event": {"type": "string"}, "id": {"type": "string"}},
    }
    stream = {"schema": event, "example": example.decode()}
    return found | {"content": found.get("content", {}) | {"text/event-stream": stream}}


def refusals(family: Family, *statuses: int) -> Responses:
    """The errors of a route by status, in the shape of its family, and any other's shape."""
    found: Responses = {status: _refusal(family, status) for status in statuses}
    return found | {"default": {"description": "Any other error.", **_fault(family, None)}}


def _refusal(family: Family, status: int) -> dict[str, Any]:
    codes = {name: code for name, code in CODES.items() if code.status == status}
    headers = ["x-request-id"]
    headers += ["retry-after"] if any(code.retryable for code in codes.values()) else []
    lasting = any(not code.retryable for code in codes.values())
    headers += ["x-should-retry"] if lasting and (status == 409 or status >= 500) else []
    headers += ["www-authenticate"] if status == 401 else []
    headers += ["ratelimit-policy", "ratelimit"] if status == 429 else []
    headers += ["x-error-message"] if family != "Problem" else []
    description = "`" + "`, `".join(codes) + "`"
    return {"description": description, "headers": _headers(*headers), **_fault(family, status)}


def _fault(family: Family, status: int | None) -> dict[str, Any]:
    media = "application/problem+json" if family == "Problem" else "application/json"
    content: dict[str, Any] = {"schema": {"$ref": REF + family}}
    if status is not None:
        content["examples"] = _examples(f"{family}-{status}")
    return {"content": {media: content}}


def _examples(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/examples/{name}"} for name in names}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
