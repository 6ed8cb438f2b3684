"""Answers by status, with their headers, shapes and examples."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from api.dialects.hf import task_answers
from api.dialects.native import jobs
from api.dialects.openai import errors
from api.openapi import examples, job_shapes, response_shapes, service_shapes, shapes
from api.openapi.examples import ANSWERS, BATCHES, ERRORS, RESPONSE_STREAM, RESPONSES, WEBHOOKS
from api.server.sse import DONE
from shared.errors import CODES

REF = "#/components/schemas/"
Responses = dict[int | str, dict[str, Any]]
Family = Literal["Problem", "OpenAIError", "HuggingFaceError"]

_RENDER = {
    "Problem": lambda error: jobs.to_problem(error, "req_0123456789abcdef0123456789abcdef"),
    "OpenAIError": errors.to_error,
    "HuggingFaceError": task_answers.to_error,
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


# Descriptions of the routes' successful answers.

ACCEPTED = answer(
    "The job is kept; `location` says where to look for it.",
    ref(job_shapes.Job),
    "job-queued",
    headers=("location", "retry-after", *JOB_HEADERS),
)
JOB_ENDED = answer(
    "The job, where `Prefer: wait` saw its end.",
    ref(job_shapes.Job),
    "job-succeeded",
    headers=JOB_HEADERS,
)
JOB = answer(
    "The job; `retry-after` where it has not ended.",
    ref(job_shapes.Job),
    "job-succeeded",
    "job-queued",
    headers=("retry-after", *JOB_HEADERS),
)
REPLAYED = answer(
    "The job; its webhook is called.", ref(job_shapes.Job), "job-succeeded", headers=JOB_HEADERS
)
JOB_LIST = answer("A page of jobs.", ref(job_shapes.JobList), "jobs")
FORECAST = answer("What would become of it.", ref(job_shapes.Forecast), "forecast")
JOB_GONE = answer("The job is forgotten.")
JOB_TOLD = answer("Who sent `Last-Event-ID` has had the last event.", headers=JOB_HEADERS)
CHANGED = answer("It is so from now on.")
JOB_EVENTS = streamed(
    answer("The events, up to the last.", headers=JOB_HEADERS), job_shapes.JobEvent, examples.JOB_STREAM
)
CHAT_ANSWER = streamed(
    answer(
        "The answer, or its pieces with `stream`.",
        ref(shapes.ChatCompletion),
        "chat",
        headers=JOB_HEADERS,
    ),
    shapes.ChatCompletionChunk,
    examples.CHAT_STREAM,
)
TEXT_ANSWER = streamed(
    answer(
        "The text, or its pieces with `stream`.",
        ref(shapes.TextCompletion),
        "text",
        headers=JOB_HEADERS,
    ),
    shapes.TextCompletion,
    examples.TEXT_STREAM,
)
TASK_ANSWER = streamed(
    answer(
        "The answer of the task, or its pieces with `stream`. huggingface.js is given the object instead of"
        " the list for a picture's bytes.",
        one_of(listed(shapes.GeneratedText), listed(shapes.ScoredAnswer), ref(shapes.GeneratedText)),
        "generated-text",
        "scored-answer",
        headers=JOB_HEADERS,
    ),
    shapes.TokenChunk,
    examples.HF_STREAM,
)
RESPONSE = answer(
    "The response.",
    ref(response_shapes.ResponseObject),
    "response",
    "response-queued",
    "response-cancelled",
    headers=JOB_HEADERS,
)
RESPONSE_STREAMED = streamed(RESPONSE, response_shapes.ResponseEvent, RESPONSE_STREAM)
RESPONSE_GONE = answer("The response is forgotten.", ref(response_shapes.ResponseDeleted), "response-deleted")
RESPONSE_INPUT = answer("A page of its input.", ref(response_shapes.InputItemList), "response-input")
MODEL = answer("The model.", ref(service_shapes.Model), "model")
MODEL_LIST = answer("The models.", ref(service_shapes.ModelList), "models")
MODEL_INFO = answer("The model and the line before it.", ref(service_shapes.ModelInfo), "model-info")
MODEL_STATUS = answer("How the model stands.", ref(service_shapes.ModelStatus), "model-status")
TEXT = {"schema": {"type": "string"}}
METRICS = answer("All metrics, in the form that the caller accepts.") | {
    "content": {"text/plain": TEXT, "application/openmetrics-text": TEXT}
}
FLEET = answer("What waits and who works.", ref(service_shapes.Fleet), "fleet")
MODEL_HEALTH = answer("It is loaded.", ref(service_shapes.ModelHealth), "model-health")
HEALTH = answer("The process serves.", ref(service_shapes.Health), "health")
READY = answer("Some model is loaded.", ref(service_shapes.Readiness), "ready")
NOT_READY = answer(
    "No model is loaded, or the record store is out of reach or takes no writes.",
    one_of(ref(service_shapes.Readiness), {"$ref": f"{REF}HuggingFaceError"}),
    "not-ready",
    headers=("retry-after",),
)
ADMIN_ACTION_LIST = answer("A page of acts.", ref(service_shapes.AdminActionList), "admin_actions")
KEY = answer("The key.", ref(service_shapes.ApiKey), "key")
KEY_LIST = answer("The keys.", ref(service_shapes.ApiKeyList), "keys")
NEW_KEY = answer("The key with its secret.", ref(service_shapes.NewApiKey), "new-key")
ENDPOINT = answer("The webhook.", ref(shapes.Endpoint), "endpoint")
NEW_ENDPOINT = answer("The webhook with its secret.", ref(shapes.NewEndpoint), "new-endpoint")
ENDPOINT_LIST = answer("The webhooks.", ref(shapes.EndpointList), "endpoints")
ENDPOINT_GONE = answer("The webhook is forgotten.")
TRY_LIST = answer("The calls.", ref(shapes.EndpointTryList), "tries")
SENT = answer("The event, which is sent.", ref(shapes.Event), "event", "test-event")
EVENT_LIST = answer("A page of events.", ref(shapes.EventList), "events")
FILE = answer("The file.", ref(shapes.FileObject), "file")
FILE_LIST = answer("A page of files.", ref(shapes.FileList), "files")
FILE_GONE = answer("The file is forgotten.", ref(shapes.FileDeleted), "file-deleted")
FILE_CONTENT = answer("The bytes, as they were uploaded or written.") | {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
BATCH = answer("The batch.", ref(shapes.Batch), "batch")
BATCH_LIST = answer("A page of batches.", ref(shapes.BatchList), "batches")
