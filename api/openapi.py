"""The published description of the API, at /openapi.json.

Handlers read bodies by hand, through the strict parser, so FastAPI cannot see what they take: each route
names its wire model, its headers and its answers here.
"""

from typing import Any

from fastapi import FastAPI

from api.dialects.hf import HfBody
from api.dialects.messages import WireMessage, WirePart
from api.dialects.native import JobBody
from api.dialects.openai_chat import ChatBody
from api.dialects.openai_completions import CompletionBody
from api.strict_json import Wire

REF = "#/components/schemas/"
BODIES: tuple[type[Wire], ...] = (JobBody, ChatBody, CompletionBody, HfBody, WireMessage, WirePart)

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ERRORS: dict[str, dict[str, Any]] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": _TEXT,
            "param": _TEXT,
            "retryable": {"type": "boolean"},
            "request_id": _TEXT,
            "estimated_time": _NUMBER,
            "basis": _TEXT,
        },
    },
    "OpenAIError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": _TEXT,
                },
            },
            "estimated_time": _NUMBER,
        },
    },
    "HuggingFaceError": {
        "type": "object",
        "required": ["error", "error_type"],
        "properties": {"error": _TEXT, "error_type": _TEXT, "estimated_time": _NUMBER},
    },
}

PREFER = (
    "header",
    "Prefer",
    "`wait=N` waits up to N seconds for the end; `respond-async` answers with a job.",
)
KEY = ("header", "Idempotency-Key", "The same key and body again is the same job; at most 255 characters.")
USE_CACHE = ("header", "x-use-cache", "`false`, `False` or `0`: a new computation.")
WAIT_FOR_MODEL = ("header", "x-wait-for-model", "`true`: wait while the model loads instead of 503.")
CHAT_EXAMPLE = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
            ],
        }
    ]
}
PROMPT_EXAMPLE = {"prompt": "A cat is"}
SYNCHRONOUS = (KEY, USE_CACHE, WAIT_FOR_MODEL)


def describe(
    body: type[Wire] | None = None,
    *parameters: tuple[str, str, str],
    example: dict[str, Any] | None = None,
    picture: bool = False,
) -> dict[str, Any]:
    """What `openapi_extra` adds to a route; `picture` where a body may be a picture's bytes."""
    extra: dict[str, Any] = {}
    if parameters:
        extra["parameters"] = [
            {"in": place, "name": name, "description": text, "schema": _TEXT}
            for place, name, text in parameters
        ]
    if body is not None:
        content: dict[str, Any] = {
            "application/json": {"schema": {"$ref": REF + body.__name__}, "example": example}
        }
        if picture:
            content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
        extra["requestBody"] = {"required": True, "content": content}
    return extra


def answers(error: str, **named: str) -> dict[int | str, dict[str, Any]]:
    """Descriptions by status (`_200="…"`), and the shape of every error of the route."""
    media = "application/problem+json" if error == "Problem" else "application/json"
    fault = {"description": "Any error.", "content": {media: {"schema": {"$ref": REF + error}}}}
    return {"default": fault, **{int(status[1:]): {"description": text} for status, text in named.items()}}


def install_schema(app: FastAPI) -> None:
    """Let `app` describe the bodies it really reads."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    for path in schema["paths"].values():
        for operation in path.values():
            # FastAPI's own validation never answers: paths take any string, the rest is read by hand.
            operation["responses"].pop("422", None)
    schema["components"] = {"schemas": {**_bodies(), **_ERRORS}}
    return schema


def _bodies() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for body in BODIES:
        own = body.model_json_schema(ref_template=REF + "{model}")
        schemas |= own.pop("$defs", {}) | {body.__name__: own}
    turns = {"type": "array", "items": {"$ref": REF + "WireMessage"}}
    for name in ("JobBody", "ChatBody"):
        schemas[name]["properties"]["messages"] = turns
    parts = {"type": "array", "items": {"$ref": REF + "WirePart"}}
    schemas["WireMessage"]["properties"]["content"] = {"anyOf": [_TEXT, parts, {"type": "null"}]}
    return schemas
