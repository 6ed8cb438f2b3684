"""Parameters that handlers read by hand."""

from typing import Any, Literal, get_args

from shared.job import Status

TEXT = {"type": "string"}

Parameter = dict[str, Any]


def parameter(
    place: Literal["header", "query"], name: str, description: str, schema: dict[str, Any] | None = None
) -> Parameter:
    """One optional parameter; any text where no schema is given."""
    return {"in": place, "name": name, "description": description, "schema": schema or TEXT}


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
USE_CACHE = parameter("header", "x-use-cache", "`false`, `False` or `0`: a new computation.")
WAIT_FOR_MODEL = parameter("header", "x-wait-for-model", "`true`: wait while the model loads instead of 503.")
SYNCHRONOUS = (KEY, USE_CACHE, WAIT_FOR_MODEL)

WAIT = parameter(
    "query",
    "wait",
    "Seconds to wait for the end; more than 60 is 60.",
    {"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
)
PAGE = (
    parameter(
        "query",
        "limit",
        "Jobs in a page; more than 100 is 100.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    parameter("query", "after", "The last id of the page before.", {"type": "string", "minLength": 1}),
    parameter("query", "status", "Jobs of this status only.", {"enum": list(get_args(Status))}),
    parameter("query", "model", "Jobs of this model only."),
)
_EVENT_ID = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
PLACE = (
    parameter("header", "Last-Event-ID", "Go on behind this event.", _EVENT_ID),
    parameter("query", "after", "The same, where a header cannot be sent.", _EVENT_ID),
)
