"""The published description of the API, at /openapi.json.

Handlers read bodies by hand, through the strict parser, and answer with bytes, so FastAPI sees neither: each
route names its wire model, its parameters and its answers here.
"""

from typing import Any

from fastapi import FastAPI

from api.description import (
    batch_shapes,
    job_shapes,
    response_shapes,
    service_shapes,
    shapes,
    webhook_shapes,
)
from api.description.batch_examples import BATCH_ID, FILE_ID
from api.description.bodies import body_schemas
from api.description.examples import KEY_ID, MODEL, QUEUED
from api.description.parameters import Parameter
from api.description.response_examples import RESPONSE_ID
from api.description.responses import EXAMPLES, HEADERS, REF, Family, refusals
from api.description.shapes import ListShape, PageShape, Shape
from api.description.webhook_examples import ENDPOINT_ID, EVENT_ID
from api.dialects.strict_json import Wire
from api.gate import OPEN
from api.wire.problems import family_of

SHAPES: dict[str, Family] = {"jobs": "Problem", "openai": "OpenAIError", "hf": "HuggingFaceError"}
"""The error shape of each family of `api.wire.problems`."""
_BASES = (Shape, ListShape, PageShape)
"""No answer is just one of these."""


def describe(
    body: type[Wire] | None = None,
    *parameters: Parameter,
    example: dict[str, Any] | None = None,
    picture: bool = False,
) -> dict[str, Any]:
    """A route's `openapi_extra`; `picture` says that a body may be a picture's bytes."""
    extra: dict[str, Any] = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        content: dict[str, Any] = {
            "application/json": {"schema": {"$ref": REF + body.__name__}, "example": example}
        }
        if picture:
            content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
        extra["requestBody"] = {"required": True, "content": content}
    return extra


def install_schema(app: FastAPI) -> None:
    """Make the schema of `app` describe what handlers really read and answer."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path not in OPEN:
                operation["responses"] = _at_the_gate(path) | operation["responses"]
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    del parameter["schema"]["title"]
                    parameter["example"] = _named(path, parameter["name"])
    schemas = _bare(body_schemas() | _shapes())
    schema["components"] = {
        "schemas": schemas,
        "headers": HEADERS,
        "examples": EXAMPLES,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    # With a key or without: the operator's setting decides.
    schema["security"] = [{"key": []}, {}]
    return schema


def _named(path: str, name: str) -> str:
    """The description of an id in a path."""
    if path.startswith("/v1/admin/keys"):
        return KEY_ID
    if path.startswith("/v1/webhooks"):
        return EVENT_ID if name == "event" else ENDPOINT_ID
    if path.startswith("/v1/files"):
        return FILE_ID
    if path.startswith("/v1/batches"):
        return BATCH_ID
    if path.startswith("/v1/responses"):
        return RESPONSE_ID
    return QUEUED.id if path.startswith("/v1/jobs") else MODEL


def _at_the_gate(path: str) -> dict[str, Any]:
    """The errors with which `api.gate` refuses calls of this path."""
    found = refusals(SHAPES[family_of(path)], 401, 403, 429)
    return {str(status): response for status, response in found.items()}


def _shapes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in (shapes, job_shapes, service_shapes, response_shapes, webhook_shapes, batch_shapes):
        for shape in vars(module).values():
            if isinstance(shape, type) and issubclass(shape, Shape) and shape not in _BASES:
                own = shape.model_json_schema(ref_template=REF + "{model}")
                found |= own.pop("$defs", {}) | {shape.__name__: own}
    return found


def _bare(value: Any) -> Any:
    """The schema without pydantic's null defaults, which only mean that a field may be left out, and without
    its titles: client generators name types by them, and they clash.
    """
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (k == "default" and v is None)}
        return {k: _bare(v) for k, v in kept.items() if not (k == "title" and isinstance(v, str))}
    return [_bare(v) for v in value] if isinstance(value, list) else value
