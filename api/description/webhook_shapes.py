"""The shapes of answers about webhook endpoints and events."""

from typing import Any, Literal

from pydantic import Field

from api.description.shapes import ListShape, PageShape, Shape
from api.dialects.endpoints import EndpointEvent
from shared.endpoint import Why


class Endpoint(Shape):
    """Times are Unix seconds; null is what does not apply."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[EndpointEvent]
    description: str
    enabled: bool
    disabled_reason: Why | None = Field(description="`gone`: it answered 410. `caller`: it was turned off.")
    disabled_at: float | None
    created_at: float
    former_until: float | None = Field(description="How long a secret from before a rotation signs as well.")


class NewEndpoint(Endpoint):
    secret: str = Field(description="Shown now and never again.")


class EndpointList(PageShape):
    data: list[Endpoint]
    has_more: bool = Field(description="`false`: this is all.")


class EndpointTry(Shape):
    """One call. Without an answer `status` is null; `error` says why it did not count."""

    event_id: str
    event: str
    at: float
    ms: int
    status: int | None
    error: str | None


class EndpointTryList(ListShape):
    data: list[EndpointTry]
    has_more: bool = Field(description="`false`: this is all.")


class Event(Shape):
    """What webhooks are told; `id` is their `webhook-id`, `data` what it happened to, as it stood then."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventList(PageShape):
    data: list[Event]
