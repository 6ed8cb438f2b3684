"""Answers by status, with their headers, shapes and examples."""

from collections.abc import Sequence
from typing import Any

from api.dialects.hf import task_answers
from api.dialects.native import jobs
from api.dialects.openai import errors
from api.dialects.openai.chat import ChatCompletionChunk
from api.dialects.strict_json import Wire
from api.openapi import examples
from api.openapi.examples import ANSWERS, ERRORS
from api.server.errors import Family
from api.server.sse import DONE
from shared.errors import CODES

REF = "#/components/schemas/"
COMPONENTS: dict[str, Any] = {}
"""Models of bodies and events by name, which routes describe by reference."""
Responses = dict[int | str, dict[str, Any]]

_RENDER = {
    "Problem": lambda error: jobs.to_problem(error, "req_0123456789abcdef0123456789abcdef"),
    "OpenAIError": errors.to_error,
    "HuggingFaceError": task_answers.to_error,
}

# FastAPI drops nulls from the examples it is given, so these are components, added after it has run.
EXAMPLES = {name: {"value": value} for name, value in ANSWERS.items()} | {
    f"{family}-{status}": {"value": render(error)}
    for family, render in _RENDER.items()
    for status, error in ERRORS.items()
}

JOB_HEADERS = ("x-ignored-fields", "x-job-id", "x-cache", "x-compute-time", "x-queue-time")
"""Headers of an answer that names a job; the times are set once it has ended."""


def _header(description: str, type: str = "string", **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": type, **schema}}


HEADERS = {
    "x-request-id": _header("The call's own where it sent a sane one."),
    "x-job-id": _header(
        "The job that answers; of a cached answer the caller's own job that computed it, where there is one."
    ),
    "x-ignored-fields": _header("Paths of fields that were ignored, with commas between."),
    "x-cache": _header("Where the answer comes from.", enum=["HIT", "MISS", "COALESCED", "BYPASS"]),
    "x-compute-time": _header("Seconds of computing.", "number"),
    "x-queue-time": _header("Seconds before it began.", "number"),
    "location": _header("The job's path."),
    "x-pages": _header("How many pages the document has.", "integer", minimum=1),
    "retry-after": _header("Seconds after which to ask again.", "integer", minimum=1, maximum=59),
    "x-should-retry": _header("`false` where a repeat cannot help.", enum=["false"]),
    "www-authenticate": _header("How to say who calls.", const="Bearer"),
    "ratelimit-policy": _header(
        "Requests that the key may make, and in how many seconds; how many runs of its caller may wait for "
        "one model (`queued`).",
        examples=['"requests";q=600;w=60'],
    ),
    "ratelimit": _header(
        "How many are left, and in how many seconds the first request made no longer counts.",
        examples=['"requests";r=412;t=37'],
    ),
    "x-error-message": _header("The error's text in one line."),
}


def answer(
    description: str, *examples: str, headers: Sequence[str] = (), schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One response in JSON, its examples by name.

    The handler's signature gives its schema, unless it is of another status than the handler's own: then
    `model` beside it does, or `schema`.
    """
    response: dict[str, Any] = {"description": description, "headers": _headers("x-request-id", *headers)}
    content = ({"examples": _examples(*examples)} if examples else {}) | (
        {"schema": schema} if schema else {}
    )
    return response | {"content": {"application/json": content}} if content else response


def file_answer(description: str, *media: str, headers: Sequence[str] = ()) -> dict[str, Any]:
    """One response in bytes, of any of these media types."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media}
    return answer(description, headers=headers) | {"content": content}


def text_answer(description: str, *media: str) -> dict[str, Any]:
    """One response in text, of any of these media types."""
    return answer(description) | {"content": {kind: {"schema": {"type": "string"}} for kind in media}}


def with_stream(response: dict[str, Any], stream: bytes, item: Any) -> dict[str, Any]:
    """The same response, or a stream; the data of each event is an `item`."""
    example = stream.decode()
    content = {"text/event-stream": {"schema": _event(_component(item), example), "example": example}}
    return response | {"content": response.get("content", {}) | content}


def job_answer(description: str, *examples: str, stream: bytes, item: Any) -> dict[str, Any]:
    """A job's result, whole or as a stream; without `examples` its events, and nothing but a stream."""
    return with_stream(answer(description, *examples, headers=JOB_HEADERS), stream, item)


def body(model: type[Wire], example: dict[str, Any], other: dict[str, Any] | None = None) -> dict[str, Any]:
    """A route's `openapi_extra`; `other` is what the body may be beside JSON, by media type.

    A body in the handler's signature would be parsed by FastAPI: whole, and on the event loop.
    """
    content = {"application/json": {"schema": _component(model), "example": example}} | (other or {})
    return {"requestBody": {"required": True, "content": content}}


def _component(model: Any) -> dict[str, Any]:
    COMPONENTS[model.__name__] = model
    return {"$ref": REF + model.__name__}


def _event(item: dict[str, Any], example: str) -> dict[str, Any]:
    """The schema of one event whose data is an `item`, or the error that ends a stream."""
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [item, {"$ref": f"{REF}StreamError"}]},
    }
    if example.endswith(DONE.decode()):
        data = {"anyOf": [{"type": "string", "const": "[DONE]"}, data]}
    return {
        "type": "object",
        "description": "One event; the stream has any number.",
        "required": ["data"],
        "properties": {"data": data, "event": {"type": "string"}, "id": {"type": "string"}},
    }


def refusals(family: Family, *statuses: int) -> Responses:
    """The errors of a route by status, in the shape of its family, and any other's shape."""
    errors: Responses = {status: _refusal(family, status) for status in statuses}
    return errors | {"default": {"description": "Any other error.", **_fault(family, None)}}


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


ACCEPTED = answer(
    "The job is kept; `location` says where to look for it.",
    "job-queued",
    headers=("location", "retry-after", *JOB_HEADERS),
)
CHAT_ANSWER = job_answer(
    "The answer, or its pieces with `stream`.", "chat", stream=examples.CHAT_STREAM, item=ChatCompletionChunk
)
TASK_ANSWER = job_answer(
    "The answer of the task, or its pieces with `stream`. huggingface.js is given the object instead of the "
    "list for a picture's bytes.",
    "generated-text",
    "scored-answer",
    stream=examples.HF_STREAM,
    item=task_answers.TokenChunk,
)
