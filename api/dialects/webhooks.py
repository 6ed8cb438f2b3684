"""Webhooks: a job's or batch's own, a key's default one, and their deliveries. Times are Unix seconds."""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, SecretStr
from typing_extensions import TypedDict

from api.dialects.fields import Moment, seconds, to_ms
from api.dialects.strict_json import Wire, invalid, read
from shared.job import Delivery, Hook
from shared.webhooks import BATCH_EVENTS, ENDINGS, DefaultWebhook, Webhook, key_of

JobEvent = Literal["job.running", "job.succeeded", "job.failed", "job.cancelled"]
BatchEvent = Literal["batch.completed", "batch.failed", "batch.cancelled", "batch.expired"]
DEFAULT_EVENTS = (*ENDINGS, *BATCH_EVENTS)
# Nobody names one so often: a longer list is not read.
MOST_EVENTS = 100


class OwnWebhook(Wire):
    url: str
    secret: SecretStr | None = None


class JobWebhook(OwnWebhook):
    events: list[JobEvent] | None = Field(None, max_length=MOST_EVENTS)


class BatchWebhook(OwnWebhook):
    events: list[BatchEvent] | None = Field(None, max_length=MOST_EVENTS)


class KeyWebhookBody(Wire):
    """Without `events` it gets the end of each job and batch."""

    url: str
    events: list[JobEvent | BatchEvent] | None = Field(None, min_length=1, max_length=MOST_EVENTS)


class RedeliveryBody(Wire):
    since: Moment


def to_webhook(
    value: str | JobWebhook | BatchWebhook | None, ends: tuple[str, ...] = ENDINGS
) -> Webhook | None:
    """Without events it gets all `ends`. The address is checked at admission.

    Raises CallerError naming the field.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return Webhook(value, ends, param="webhook")
    if value.events == []:
        raise invalid("webhook.events", "should name an event")
    if value.secret is not None:
        try:
            key_of(value.secret.get_secret_value())
        except ValueError as reason:
            raise invalid("webhook.secret", str(reason)) from None
    return Webhook(value.url, tuple(dict.fromkeys(value.events or ends)), value.secret)


def from_key_webhook(body: Any) -> DefaultWebhook:
    """The default webhook of a key; its address is checked later. Raises CallerError naming the field."""
    webhook = read(KeyWebhookBody, body)
    return DefaultWebhook(webhook.url, tuple(dict.fromkeys(webhook.events or DEFAULT_EVENTS)))


def from_redelivery(body: Any) -> int:
    """The time (Unix ms) since when failed deliveries are made again. Raises CallerError naming the field."""
    return to_ms("since", read(RedeliveryBody, body).since) or 0


class WebhookDelivery(TypedDict):
    """One call; `status` is null where no answer came, `error` where the receiver took it."""

    event: JobEvent
    attempt: Annotated[int, Field(description="The number of the try; a redelivery begins with 1 again.")]
    at: float
    ms: int
    status: int | None
    error: str | None


class WebhookState(TypedDict):
    url: str
    events: list[JobEvent | BatchEvent]
    deliveries: list[WebhookDelivery]
    delivered_at: float | None
    next_try_at: Annotated[float | None, Field(description="After a failure, when the next try is due.")]


class Redelivery(TypedDict):
    object: Literal["redelivery"]
    count: Annotated[int, Field(description="Deliveries that are made again.")]


def to_hook(hook: Hook) -> WebhookState:
    """The job's `webhook`; `delivered_at` is when the receiver took the job's end."""
    return {
        "url": hook.url,
        "events": cast("list[JobEvent | BatchEvent]", list(hook.events)),
        "deliveries": [_delivery(delivery) for delivery in hook.deliveries],
        "delivered_at": seconds(hook.delivered_ms),
        "next_try_at": seconds(hook.next_ms),
    }


def _delivery(delivery: Delivery) -> WebhookDelivery:
    return {
        "event": cast(JobEvent, delivery.event),
        "attempt": delivery.attempt,
        "at": delivery.at_ms / 1000,
        "ms": delivery.took_ms,
        "status": delivery.status,
        "error": delivery.error,
    }
