"""Endpoints: webhooks of a caller that are told of every job and batch, not of one job."""

import base64
import secrets
from dataclasses import dataclass
from typing import Literal

from shared.job import Delivery
from shared.webhooks import EVENTS, SECRET_PREFIX

BATCH_EVENTS = ("batch.completed", "batch.failed", "batch.cancelled", "batch.expired")
FAMILIES = ("job.*", "batch.*")
ALL_EVENTS = (*EVENTS, *BATCH_EVENTS)
TEST = "webhook.test"
MOST = 16
"""Endpoints that one caller may have: each end may be told to all of them."""
MOST_FORMER = 4
"""Secrets from before rotations that sign at once."""
Why = Literal["caller", "gone"]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint without its secrets; times in Unix ms.

    `disabled` says why it is told nothing: its caller disabled it, or it answered 410.
    `former_until_ms` is until when a secret from before a rotation signs as well.
    """

    id: str
    url: str
    events: tuple[str, ...]
    description: str
    created_ms: int
    disabled: Why | None = None
    disabled_ms: int | None = None
    former_until_ms: int | None = None


@dataclass(frozen=True)
class Change:
    """Changes to an endpoint; None leaves a field as it is. `host` is that of `url`, once it was checked."""

    url: str | None = None
    host: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True)
class Tried:
    """One try at telling an endpoint of the event `event_id`."""

    event_id: str
    delivery: Delivery


def new_secret() -> str:
    """192 random bits, in the form that Standard Webhooks' libraries take."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()
