"""A job's webhook as its caller writes it, and as the job shows it. A secret goes in and never out."""

from typing import Any, Literal

from pydantic import Field, SecretStr

from api.dialects.strict_json import Wire, invalid
from shared.job import Delivery, Hook
from shared.webhooks import ENDINGS, Webhook, key_of

WebhookEvent = Literal["job.running", "job.succeeded", "job.failed", "job.cancelled"]
# Nobody names one so often: a longer list is not read.
MOST_EVENTS = 100


class JobWebhook(Wire):
    url: str
    events: list[WebhookEvent] | None = Field(None, max_length=MOST_EVENTS)
    secret: SecretStr | None = None


def to_webhook(said: str | JobWebhook | None) -> Webhook | None:
    """The address is checked at admission. Raises CallerError naming the field."""
    if said is None:
        return None
    if isinstance(said, str):
        return Webhook(said, param="webhook")
    if said.events == []:
        raise invalid("webhook.events", "should name an event")
    if said.secret is not None:
        try:
            key_of(said.secret.get_secret_value())
        except ValueError as reason:
            raise invalid("webhook.secret", str(reason)) from None
    return Webhook(said.url, tuple(dict.fromkeys(said.events or ENDINGS)), said.secret)


def to_hook(hook: Hook) -> dict[str, Any]:
    """The job's `webhook`; `delivered_at` is when the receiver took the job's end."""
    return {
        "url": hook.url,
        "events": hook.events,
        "deliveries": [_delivery(d) for d in hook.deliveries],
        "delivered_at": None if hook.delivered_ms is None else hook.delivered_ms / 1000,
    }


def _delivery(tried: Delivery) -> dict[str, Any]:
    return {
        "event": tried.event,
        "at": tried.at_ms / 1000,
        "ms": tried.took_ms,
        "status": tried.status,
        "error": tried.error,
    }
