"""Webhooks: a job's own, /v1/webhooks and /v1/events: a caller's endpoints and the log of its events.

Times are Unix seconds. A secret is shown once, when it is made.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, SecretStr
from pydantic_core import from_json
from typing_extensions import TypedDict

from api.dialects.fields import ListAnswer, PageAnswer, seconds
from api.dialects.strict_json import Wire, invalid, read
from shared import webhooks
from shared.job import Delivery, Hook
from shared.webhooks import (
    ALL_EVENTS,
    ENDINGS,
    FAMILIES,
    DeliveryAttempt,
    EndpointUpdate,
    Notice,
    Webhook,
    Why,
    body_of,
    key_of,
)

WebhookEvent = Literal["job.running", "job.succeeded", "job.failed", "job.cancelled"]
EndpointEvent = Literal[
    WebhookEvent, "job.*", "batch.completed", "batch.failed", "batch.cancelled", "batch.expired", "batch.*"
]
DEFAULT_EVENTS = (*ENDINGS, "batch.*")
LONGEST_DESCRIPTION = 200
NAMES = (*ALL_EVENTS, *FAMILIES)
# Nobody names one so often: a longer list is not read.
MOST_EVENTS = 100


class JobWebhook(Wire):
    url: str
    events: list[WebhookEvent] | None = Field(None, max_length=MOST_EVENTS)
    secret: SecretStr | None = None


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


def to_webhook(value: str | JobWebhook | None) -> Webhook | None:
    """The address is checked at admission. Raises CallerError naming the field."""
    if value is None:
        return None
    if isinstance(value, str):
        return Webhook(value, param="webhook")
    if value.events == []:
        raise invalid("webhook.events", "should name an event")
    if value.secret is not None:
        try:
            key_of(value.secret.get_secret_value())
        except ValueError as reason:
            raise invalid("webhook.secret", str(reason)) from None
    return Webhook(value.url, tuple(dict.fromkeys(value.events or ENDINGS)), value.secret)


def from_endpoint(body: Any, id: str) -> webhooks.Endpoint:
    """The endpoint to be made under this id; its address is checked later.

    Raises CallerError naming the field.
    """
    endpoint = read(EndpointBody, body)
    return webhooks.Endpoint(
        id=id,
        url=endpoint.url,
        events=tuple(dict.fromkeys(endpoint.events or DEFAULT_EVENTS)),
        description=_one_line(endpoint.description) or "",
        created_ms=0,
    )


def from_change(body: Any) -> EndpointUpdate:
    """Raises CallerError naming the field."""
    change = read(EndpointChange, body)
    return EndpointUpdate(
        url=change.url,
        events=tuple(dict.fromkeys(change.events)) if change.events else None,
        description=_one_line(change.description),
        enabled=change.enabled,
    )


def from_types(text: str | None) -> tuple[str, ...]:
    """The event names in `types`, separated by commas. Raises CallerError."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in NAMES:
            raise invalid("types", f"takes {', '.join(NAMES)}")
    return names


Attempt = Annotated[int, Field(description="The number of the try; a replay begins with 1 again.")]


class WebhookDelivery(TypedDict):
    """One call; `status` is null where no answer came, `error` where the receiver took it."""

    event: WebhookEvent
    attempt: Attempt
    at: float
    ms: int
    status: int | None
    error: str | None


class WebhookState(TypedDict):
    url: str
    events: list[WebhookEvent]
    deliveries: list[WebhookDelivery]
    delivered_at: float | None
    next_try_at: Annotated[float | None, Field(description="After a failure, when the next try is due.")]


class Endpoint(TypedDict):
    """Times are Unix seconds; null is what does not apply."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[EndpointEvent]
    description: str
    enabled: bool
    disabled_reason: Annotated[
        Why | None, Field(description="`gone`: it answered 410. `caller`: it was turned off.")
    ]
    disabled_at: float | None
    created_at: float
    former_until: Annotated[
        float | None, Field(description="How long a secret from before a rotation signs as well.")
    ]


class NewEndpoint(Endpoint):
    secret: Annotated[str, Field(description="Shown now and never again.")]


class EndpointList(PageAnswer):
    data: list[Endpoint]
    has_more: Annotated[bool, Field(description="`false`: this is all.")]


class EndpointTry(TypedDict):
    """One call. Without an answer `status` is null; `error` says why it did not count."""

    event_id: str
    event: str
    attempt: Attempt
    at: float
    ms: int
    status: int | None
    error: str | None


class EndpointTryList(ListAnswer):
    data: list[EndpointTry]
    has_more: Annotated[bool, Field(description="`false`: this is all.")]


class Event(TypedDict):
    """What webhooks are told; `id` is their `webhook-id`, `data` what it happened to, as it stood then."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventList(PageAnswer):
    data: list[Event]


def to_hook(hook: Hook) -> WebhookState:
    """The job's `webhook`; `delivered_at` is when the receiver took the job's end."""
    return {
        "url": hook.url,
        "events": cast("list[WebhookEvent]", hook.events),
        "deliveries": [_delivery(delivery) for delivery in hook.deliveries],
        "delivered_at": seconds(hook.delivered_ms),
        "next_try_at": seconds(hook.next_ms),
    }


def _delivery(delivery: Delivery) -> WebhookDelivery:
    return {
        "event": cast(WebhookEvent, delivery.event),
        "attempt": delivery.attempt,
        "at": delivery.at_ms / 1000,
        "ms": delivery.took_ms,
        "status": delivery.status,
        "error": delivery.error,
    }


def to_endpoint(endpoint: webhooks.Endpoint) -> Endpoint:
    """What does not apply is null."""
    return {
        "id": endpoint.id,
        "object": "webhook",
        "url": endpoint.url,
        "events": cast("list[EndpointEvent]", list(endpoint.events)),
        "description": endpoint.description,
        "enabled": endpoint.disabled is None,
        "disabled_reason": endpoint.disabled,
        "disabled_at": seconds(endpoint.disabled_ms),
        "created_at": endpoint.created_ms / 1000,
        "former_until": seconds(endpoint.former_until_ms),
    }


def to_new_endpoint(endpoint: webhooks.Endpoint, secret: str) -> NewEndpoint:
    return {**to_endpoint(endpoint), "secret": secret}


def to_try(attempt: DeliveryAttempt) -> EndpointTry:
    """One call of an endpoint, as a job shows those of its own webhook, with the event's id."""
    return {"event_id": attempt.event_id, **_delivery(attempt.delivery)}


def to_event(notice: Notice) -> Event:
    """The event as a webhook was or would have been sent it, with its `webhook-id`."""
    return cast(Event, {"id": notice.id, **from_json(body_of(notice))})


def _one_line(text: str | None) -> str | None:
    if text and not text.isprintable():
        raise invalid("description", "should be one line of text")
    return text
