"""Descriptions of headers and query parameters that handlers read by hand."""

from typing import Any, Literal, get_args

from api.dialects.metadata import MAX_KEY, MAX_PAIRS, MAX_VALUE
from api.dialects.openai_responses import INCLUDABLE
from api.dialects.times import LATEST_S
from shared.file import Purpose
from shared.job import Priority, Status

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
