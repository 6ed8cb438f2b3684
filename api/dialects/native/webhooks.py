"""/v1/webhooks and /v1/events: a caller's webhook endpoints, and the log of its events.

Times are Unix seconds.
"""

from typing import Any, Literal

from pydantic import Field
from pydantic_core import from_json

from api.dialects.fields import seconds
from api.dialects.native.job_webhook import MOST_EVENTS
from api.dialects.strict_json import Wire, invalid, read
from shared.webhooks import ALL_EVENTS, ENDINGS, FAMILIES, Change, Endpoint, Notice, Tried, body_of

EndpointEvent = Literal[
    "job.running",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.*",
    "batch.completed",
    "batch.failed",
    "batch.cancelled",
    "batch.expired",
    "batch.*",
]
DEFAULT_EVENTS = (*ENDINGS, "batch.*")
LONGEST_DESCRIPTION = 200
NAMES = (*ALL_EVENTS, *FAMILIES)


class EndpointBody(Wire):
    """An endpoint to be made. Without `events` it is told of all that ends."""

    url: str
    events: list[EndpointEvent] | None = Field(None, min_length=1, max_length=MOST_EVENTS)
    description: str | None = Field(None, max_length=LONGEST_DESCRIPTION)


class EndpointChange(Wire):
    """What is left out stays as it is."""

    url: str | None = None
    events: list[EndpointEvent] | None = Field(None, min_length=1, max_length=MOST_EVENTS)
    description: str | None = Field(None, max_length=LONGEST_DESCRIPTION)
    enabled: bool | None = None


def from_endpoint(body: Any, id: str) -> Endpoint:
    """The endpoint to be made under this id; its address is checked later.

    Raises CallerError naming the field.
    """
    said = read(EndpointBody, body)
    return Endpoint(
        id=id,
        url=said.url,
        events=tuple(dict.fromkeys(said.events or DEFAULT_EVENTS)),
        description=_one_line(said.description) or "",
        created_ms=0,
    )


def from_change(body: Any) -> Change:
    """Raises CallerError naming the field."""
    said = read(EndpointChange, body)
    return Change(
        url=said.url,
        events=tuple(dict.fromkeys(said.events)) if said.events else None,
        description=_one_line(said.description),
        enabled=said.enabled,
    )


def from_types(text: str | None) -> tuple[str, ...]:
    """The event names in `types`, separated by commas. Raises CallerError."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in NAMES:
            raise invalid("types", f"takes {', '.join(NAMES)}")
    return names


def to_endpoint(endpoint: Endpoint, secret: str | None = None) -> dict[str, Any]:
    """The webhook object; what does not apply is null, and the secret left out."""
    shown = {
        "id": endpoint.id,
        "object": "webhook",
        "url": endpoint.url,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "enabled": endpoint.disabled is None,
        "disabled_reason": endpoint.disabled,
        "disabled_at": seconds(endpoint.disabled_ms),
        "created_at": endpoint.created_ms / 1000,
        "former_until": seconds(endpoint.former_until_ms),
    }
    return shown if secret is None else shown | {"secret": secret}


def to_try(tried: Tried) -> dict[str, Any]:
    """One call of an endpoint, as a job shows those of its own webhook, with the event's id."""
    said = tried.delivery
    return {
        "event_id": tried.event_id,
        "event": said.event,
        "at": said.at_ms / 1000,
        "ms": said.took_ms,
        "status": said.status,
        "error": said.error,
    }


def to_event(notice: Notice) -> dict[str, Any]:
    """The event as a webhook was or would have been sent it, with its `webhook-id`."""
    return {"id": notice.id, **from_json(body_of(notice))}


def _one_line(text: str | None) -> str | None:
    if text and not text.isprintable():
        raise invalid("description", "should be one line of text")
    return text
