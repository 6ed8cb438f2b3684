"""The published description of the API, at /openapi.json.

FastAPI describes headers and answers by the handlers' signatures. This module adds the query parameters,
which handlers read by hand, the errors that every path may answer, and the models that routes name.
"""

from typing import Any, Literal, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api.auth.middleware import OPEN
from api.dialects.fields import LATEST_S, MAX_KEY, MAX_PAIRS, MAX_VALUE
from api.dialects.hf.task_answers import GenerationEnd, HuggingFaceError
from api.dialects.native.job_requests import LONGEST_SEARCH
from api.dialects.native.jobs import Problem
from api.dialects.native.models import Readiness
from api.dialects.openai.batches import LineBody
from api.dialects.openai.errors import OpenAIError, StreamError
from api.dialects.openai.responses import INCLUDABLE
from api.dialects.strict_json import whole
from api.jobs.live import LIVE_S
from api.openapi.examples import BATCH_ID, FILE_ID, KEY_ID, MODEL, QUEUED, RESPONSE_ID
from api.openapi.responses import COMPONENTS, EXAMPLES, HEADERS, REF, refusals
from api.server.errors import family_of
from shared.file import Purpose
from shared.job import Priority, Status
from shared.metrics.series import LONGEST_MIN

UNNAMED = (HuggingFaceError, OpenAIError, Problem, StreamError, Readiness, LineBody, GenerationEnd)
"""Described, although no signature names them: errors, the line of a batch, what two answers share."""
BYTES = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
TEXT = {"type": "string"}

Parameter = dict[str, Any]


def parameter(
    place: Literal["header", "query"], name: str, description: str, schema: dict[str, Any] | None = None
) -> Parameter:
    """One optional parameter; without a schema it is any text."""
    return {"in": place, "name": name, "description": description, "schema": schema or TEXT}


def _query(name: str, description: str, type: str = "string", **schema: Any) -> Parameter:
    return parameter("query", name, description, {"type": type, **schema})


def _limit(means: str, default: int = 20) -> Parameter:
    return _query("limit", means, "integer", minimum=1, default=default)


WAIT = _query("wait", "Seconds to wait for the end; more than 60 is 60.", "integer", minimum=0, default=0)
MINUTES = _query("minutes", "How many; more than 15 is 15.", "integer", minimum=1, default=LONGEST_MIN)
SECONDS = _query("seconds", "How long it lasts; more than 900 is 900.", "integer", minimum=0, default=LIVE_S)
ROWS = _query(
    "rows", "The estimate is for the last of so many, submitted together.", "integer", minimum=1, default=1
)
PAGE_ROWS = _query(
    "format", "`text` joins the answers; JSON lines otherwise.", "string", enum=["jsonl", "text"]
)
SIDE = _query("side", "Pixels of the longer side, rounded up to 64, 128, 256 or 512.", "integer", minimum=0)
_MOMENT = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": LATEST_S},
        {"type": "string", "format": "date-time"},
    ]
}
_STATUSES = {
    "type": "array",
    "uniqueItems": True,
    "items": {"type": "string", "enum": list(get_args(Status))},
    "examples": [["queued", "running"]],
}
SEARCH = "Jobs whose question's beginning has these words, or whose id begins so."
_PAIRS = {
    "type": "array",
    "maxItems": MAX_PAIRS,
    "uniqueItems": True,
    "items": {"type": "string", "pattern": f"^[^=]{{1,{MAX_KEY}}}=[\\s\\S]{{0,{MAX_VALUE}}}$"},
    "examples": [["album=7"]],
}

_AFTER = _query("after", "The last id of the page before.", minLength=1)
_ORDER = _query("order", "`asc`: the oldest first.", enum=["asc", "desc"], default="desc")
FILTERS = (
    _query("search", SEARCH, minLength=1, maxLength=LONGEST_SEARCH, pattern=r'[^\s"\\/]'),
    _query("model", "Jobs of this model only."),
    _query("priority", "Jobs of this class only.", enum=list(get_args(Priority))),
    parameter("query", "created_after", "Jobs created then or later.", _MOMENT),
    parameter("query", "created_before", "Jobs created before.", _MOMENT),
    parameter("query", "metadata", "Jobs with this pair only, or all of these.", _PAIRS),
)
PAGE = (
    _limit("Most jobs in a page, which has fewer of long answers; more than 100 is 100."),
    _query("after", "`next` of the page before, or a job's id.", minLength=1),
    parameter("query", "status", "Jobs of this status only, or any of these.", _STATUSES),
    *FILTERS,
    _query("results", "`false`: jobs without `result` and `receipt`.", "boolean", default=True),
)
_EVENT_ID = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
PLACE = (
    parameter("header", "Last-Event-ID", "Go on behind this event.", _EVENT_ID),
    parameter("query", "after", "The same, where a header cannot be sent.", _EVENT_ID),
)
INCLUDE = _query(
    "include[]",
    "What clients may ask for beside; here the pictures of an input are. `include` is the same.",
    "array",
    items={"type": "string", "enum": list(INCLUDABLE)},
)
RETRIEVAL = (
    _query("stream", "`true`: the response's events instead.", "boolean"),
    parameter("query", "starting_after", "With stream: go on behind the event of this number.", _EVENT_ID),
    _query("include_obfuscation", "Changes nothing.", "boolean"),
    INCLUDE,
)
INPUT_PAGE = (_limit("Items in a page; more than 100 is 100."), _ORDER, _AFTER, INCLUDE)
FILE_PAGE = (
    _limit("Files in a page; more than 1000 is 1000.", 1000),
    _ORDER,
    _query("purpose", "Files of this purpose only.", enum=list(get_args(Purpose))),
    _AFTER,
)
BATCH_PAGE = (_limit("Batches in a page; more than 100 is 100."), _AFTER)


def describe(*parameters: Parameter) -> dict[str, Any]:
    """A route's `openapi_extra`."""
    return {"parameters": list(parameters)}


def install_schema(app: FastAPI) -> None:
    """Complete FastAPI's own schema of `app`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(
                get_openapi(title=app.title, version=app.version, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path not in OPEN:
                # The errors with which `api.auth.middleware` refuses calls of this path.
                errors = refusals(family_of(path), 401, 403, 429)
                operation["responses"] = {str(s): r for s, r in errors.items()} | operation["responses"]
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    content["schema"].pop("title", None)
            for parameter in operation.get("parameters", ()):
                parameter["schema"].pop("title", None)
                if parameter["in"] == "path":
                    parameter["example"] = _example_id(path, parameter["name"])
    schemas = _bare(schema["components"]["schemas"] | _unnamed())
    schema["components"] = {
        "schemas": schemas,
        "headers": HEADERS,
        "examples": EXAMPLES,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    # With a key or without: the operator's setting decides.
    schema["security"] = [{"key": []}, {}]
    return schema


def _example_id(path: str, name: str) -> str:
    if name == "n":
        return "0"
    if path.startswith("/v1/admin/keys"):
        return KEY_ID
    if path.startswith("/v1/files"):
        return FILE_ID
    if path.startswith("/v1/batches"):
        return BATCH_ID
    if path.startswith("/v1/responses"):
        return RESPONSE_ID
    return QUEUED.id if path.startswith("/v1/jobs") else MODEL


def _unnamed() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for shape in (*UNNAMED, *COMPONENTS.values()):
        own = TypeAdapter(shape).json_schema(ref_template=REF + "{model}")
        schemas |= own.pop("$defs", {}) | {shape.__name__: own}
    return schemas


def _bare(value: Any) -> Any:
    """The schema without pydantic's null defaults, which only mean that a field may be left out, and without
    its titles: client generators name types by them, and they clash.
    """
    if isinstance(value, dict):
        needed = {k: v for k, v in value.items() if not (k == "default" and v is None)}
        return {k: _bare(v) for k, v in needed.items() if not (k == "title" and isinstance(v, str))}
    # FastAPI writes all limits as floats.
    return [_bare(v) for v in value] if isinstance(value, list) else whole(value)
