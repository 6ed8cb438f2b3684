"""The published description of the API, at /openapi.json.

Handlers read bodies by hand, through the strict parser, and answer with bytes, so FastAPI sees neither: each
route names its wire model, its parameters and its answers here."""

from typing import Any, Literal, get_args

from fastapi import FastAPI

from api.auth.middleware import OPEN
from api.dialects.fields import LATEST_S, MAX_KEY, MAX_PAIRS, MAX_VALUE
from api.dialects.openai.responses import INCLUDABLE
from api.dialects.strict_json import Wire
from api.openapi import job_shapes, response_shapes, service_shapes, shapes
from api.openapi.bodies import body_schemas
from api.openapi.examples import BATCH_ID, ENDPOINT_ID, EVENT_ID, FILE_ID, KEY_ID, MODEL, QUEUED, RESPONSE_ID
from api.openapi.responses import EXAMPLES, HEADERS, REF, Family, refusals
from api.openapi.shapes import ListShape, PageShape, Shape
from api.server.errors import family_of
from shared.file import Purpose
from shared.job import Priority, Status

# Descriptions of headers and query parameters that handlers read by hand.

TEXT = {"type": "string"}

Parameter = dict[str, Any]


def parameter(
    place: Literal["header", "query"], name: str, description: str, schema: dict[str, Any] | None = None
) -> Parameter:
    """One optional parameter; without a schema it is any text."""
    return {"in": place, "name": name, "description": description, "schema": schema or TEXT}


def _limit(means: str, default: int = 20) -> Parameter:
    return parameter("query", "limit", means, {"type": "integer", "minimum": 1, "default": default})


PREFER = parameter(
    "header",
    "Prefer",
    "RFC 7240: `wait=N` waits up to N seconds for the end; `respond-async` answers with a job.",
)
KEY = parameter(
    "header",
    "Idempotency-Key",
    "The same key and body again is the same job.",
    {"type": "string", "maxLength": 255},
)
BATCH_KEY = KEY | {"description": "The same key and body again is the same batch."}
USE_CACHE = parameter("header", "x-use-cache", "`false`, `False` or `0`: a new computation.")
WAIT_FOR_MODEL = parameter("header", "x-wait-for-model", "`true`: wait while the model loads instead of 503.")
SYNCHRONOUS = (KEY, USE_CACHE, WAIT_FOR_MODEL)

WAIT = parameter(
    "query",
    "wait",
    "Seconds to wait for the end; more than 60 is 60.",
    {"type": "integer", "minimum": 0, "default": 0},
)
_MOMENT = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": LATEST_S},
        {"type": "string", "format": "date-time"},
    ]
}
_PAIRS = {
    "type": "array",
    "maxItems": MAX_PAIRS,
    "uniqueItems": True,
    "items": {"type": "string", "pattern": f"^[^=]{{1,{MAX_KEY}}}=[\\s\\S]{{0,{MAX_VALUE}}}$"},
    "examples": [["album=7"]],
}

_AFTER = parameter("query", "after", "The last id of the page before.", {"type": "string", "minLength": 1})
_ORDER = parameter(
    "query",
    "order",
    "`asc`: the oldest first.",
    {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
)
PAGE = (
    _limit("Most jobs in a page, which has fewer of long answers; more than 100 is 100."),
    parameter(
        "query", "after", "`next` of the page before, or a job's id.", {"type": "string", "minLength": 1}
    ),
    parameter(
        "query", "status", "Jobs of this status only.", {"type": "string", "enum": list(get_args(Status))}
    ),
    parameter("query", "model", "Jobs of this model only."),
    parameter(
        "query", "priority", "Jobs of this class only.", {"type": "string", "enum": list(get_args(Priority))}
    ),
    parameter("query", "created_after", "Jobs created then or later.", _MOMENT),
    parameter("query", "created_before", "Jobs created before.", _MOMENT),
    parameter("query", "metadata", "Jobs with this pair only, or all of these.", _PAIRS),
    parameter(
        "query",
        "results",
        "`false`: jobs without `result` and `receipt`.",
        {"type": "boolean", "default": True},
    ),
)
_EVENT_ID = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
PLACE = (
    parameter("header", "Last-Event-ID", "Go on behind this event.", _EVENT_ID),
    parameter("query", "after", "The same, where a header cannot be sent.", _EVENT_ID),
)
INCLUDE = parameter(
    "query",
    "include[]",
    "What clients may ask for beside; here the pictures and sounds of an input are. `include` is the same.",
    {"type": "array", "items": {"type": "string", "enum": list(INCLUDABLE)}},
)
RETRIEVAL = (
    parameter("query", "stream", "`true`: the response's events instead.", {"type": "boolean"}),
    parameter("query", "starting_after", "With stream: go on behind the event of this number.", _EVENT_ID),
    parameter("query", "include_obfuscation", "Changes nothing.", {"type": "boolean"}),
    INCLUDE,
)
INPUT_PAGE = (
    _limit("Items in a page; more than 100 is 100."),
    _ORDER,
    _AFTER,
    INCLUDE,
)
LOG = (
    _limit("Most events in a page, which has fewer of long answers; more than 100 is 100."),
    parameter("query", "after", "The last id that was read.", {"type": "string", "minLength": 1}),
    parameter("query", "types", "Events of these types only, separated by commas; `job.*` is all of jobs."),
)
FILE_PAGE = (
    _limit("Files in a page; more than 1000 is 1000.", 1000),
    _ORDER,
    parameter(
        "query", "purpose", "Files of this purpose only.", {"type": "string", "enum": list(get_args(Purpose))}
    ),
    _AFTER,
)
ADMIN_ACTION_PAGE = (
    _limit("Acts in a page; more than 100 is 100."),
    _AFTER,
)
BATCH_PAGE = (
    _limit("Batches in a page; more than 100 is 100."),
    _AFTER,
)


SHAPES: dict[str, Family] = {"jobs": "Problem", "openai": "OpenAIError", "hf": "HuggingFaceError"}
"""The error shape of each family of `api.server.errors`."""
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
    """The errors with which `api.auth.middleware` refuses calls of this path."""
    found = refusals(SHAPES[family_of(path)], 401, 403, 429)
    return {str(status): response for status, response in found.items()}


def _shapes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in (shapes, job_shapes, service_shapes, response_shapes, shapes, shapes):
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
