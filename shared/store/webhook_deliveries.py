"""A courier's transitions: deliveries that are due, and how they went; a caller's replay; how many wait."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shared.fleet import DeliveryCounts
from shared.job import Delivery, JobView
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.script import Script, ScriptCall
from shared.store.webhook_events import notice
from shared.webhooks import Notice

DELIVERY, REPLAY = Script("delivery"), Script("replay")
RESULT, COUNTS = Script("delivery_result"), Script("delivery_counts")
PER_HOST = 4
"""Deliveries at once to one host of a caller, by all couriers: a hanging host holds no more threads."""
RESERVED = 4
"""Threads that each courier reserves for callers without a delivery under way."""


@dataclass(frozen=True)
class DueDelivery:
    """A delivery that a courier has leased; `tries` counts failures.

    All `secrets` sign: an endpoint's own and those from before a rotation. Without any, the service's signs.
    """

    lease: str
    """Caller, host, id and the courier's token."""
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    tries: int
    notice: Notice

    @property
    def caller(self) -> str:
        return self.lease.split()[0]

    @property
    def id(self) -> str:
        """The notice's key and the target."""
        return self.lease.split()[2]


def next_delivery(
    settings: Settings, token: str, room: int
) -> ScriptCall[DueDelivery | Literal["again"] | None]:
    """Lease the next delivery that is due; None where none is for a courier with `room` free threads.

    `again` = there is more to look at: ask once more.
    """
    arguments = {
        "token": token,
        "per_host": PER_HOST,
        "room": room,
        "reserved": RESERVED,
    }

    def parse(reply: Any) -> DueDelivery | Literal["again"] | None:
        if not reply or reply == "again":
            return reply or None
        lease, url, secrets, tries, flat = reply
        key = lease.split()[2].rpartition(":")[0]
        return DueDelivery(lease, url, tuple(secrets), int(tries), notice(key, flat))

    return ScriptCall(DELIVERY, arguments, parse, constants=constants(settings))


def delivery_result(
    settings: Settings, due: DueDelivery, tried: Delivery, *, delay_s: float | None
) -> ScriptCall[Literal["written", "moved", "forget", "lost"]]:
    """Record a try; `delay_s` is the time until the next one, None where there is none.

    `moved` = the next try is made at once: the endpoint has another URL by now than the one that is gone.
    `forget` = the job is not to be stored, and no delivery to its own webhook is left.
    """
    arguments = {
        "lease": due.lease,
        "url": due.url,
        "row": json.dumps({"id": due.notice.id} | asdict(tried)),
        "taken": tried.taken or None,
        "gone": tried.gone or None,
        "delay_ms": None if delay_s is None else round(delay_s * 1000),
    }
    return ScriptCall(RESULT, arguments, lambda reply: reply, constants=constants(settings))


def delivery_counts() -> ScriptCall[DeliveryCounts]:
    """All callers' together."""
    return ScriptCall(COUNTS, {}, lambda reply: DeliveryCounts(*reply))


Word = Literal["queued", "unhooked", "unended", "expired"]


def replay(settings: Settings, caller: str, job: str) -> ScriptCall[tuple[Word, JobView | None] | None]:
    """Send a job's own webhook its end again; None where the caller has no such job."""
    arguments = {"caller": caller, "job": job}

    def parse(reply: list[Any] | None) -> tuple[Word, JobView | None] | None:
        return (reply[0], views.job(reply[1]) if len(reply) > 1 else None) if reply else None

    def size(reply: list[Any] | None) -> int:
        return views.answer_bytes(reply[1]) if reply and len(reply) > 1 else 0

    return ScriptCall(REPLAY, arguments, parse, size=size, constants=constants(settings))
