"""The published description of the API, at /openapi.json.

Handlers read bodies by hand, through the strict parser, and answer with bytes, so FastAPI sees neither: each
route names its wire model, its parameters and its answers here.
"""

from typing import Any

from fastapi import FastAPI

from api.description import service_shapes, shapes
from api.description.bodies import body_schemas
from api.description.examples import MODEL, QUEUED
from api.description.parameters import Parameter
from api.description.responses import EXAMPLES, HEADERS, REF
from api.description.shapes import Shape
from api.strict_json import Wire


def describe(
    body: type[Wire] | None = None,
    *parameters: Parameter,
    example: dict[str, Any] | None = None,
    picture: bool = False,
) -> dict[str, Any]:
    """What `openapi_extra` adds to a route; `picture` where a body may be a picture's bytes."""
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
    """Let `app` describe what it really reads and answers."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["example"] = QUEUED.id if path.startswith("/v1/jobs") else MODEL
    schemas = _without_null_defaults(body_schemas() | _shapes())
    schema["components"] = {"schemas": schemas, "headers": HEADERS, "examples": EXAMPLES}
    return schema


def _shapes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in (shapes, service_shapes):
        for shape in vars(module).values():
            if isinstance(shape, type) and issubclass(shape, Shape) and shape is not Shape:
                own = shape.model_json_schema(ref_template=REF + "{model}")
                found |= own.pop("$defs", {}) | {shape.__name__: own}
    return found


def _without_null_defaults(value: Any) -> Any:
    """Null is how the models say that a field may be left out."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (k == "default" and v is None)}
        return {k: _without_null_defaults(v) for k, v in kept.items()}
    return [_without_null_defaults(v) for v in value] if isinstance(value, list) else value
