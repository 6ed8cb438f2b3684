"""The courier's transitions: calls of webhooks that are due, and how they went; and a caller's replay."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.job import Delivery, JobView
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.script import Script, ScriptCall
from shared.store.webhook_events import notice
from shared.webhooks import Notice

DELIVER, KEPT, TOLD, REPLAY = Script("deliver"), Script("kept"), Script("told"), Script("replay")
PER_HOST = 4
"""Calls at once to one host of a caller, by all couriers together: a hanging host holds no more threads."""
RESERVED = 4
"""Threads that each courier reserves for callers without a call under way."""
LEASE_SPARE_S = 5
"""What a call may take beside the exchange itself."""
STRETCH = 1.5
"""An exchange takes at most this many times its limit: one wait, however long, counts as half of it."""
OWN = "own"
"""The target of a call that is for the webhook of its job; others are endpoints."""


@dataclass(frozen=True)
class DueDelivery:
    """A call that a courier has taken; `tries` counts failures.

    All `secrets` sign: an endpoint's own and those from before a rotation. Without any, the service's signs.
    """

    id: str
    token: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    tries: int
    notice: Notice
    caller: str = ""

    @property
    def key(self) -> str:
        """Of the notice."""
        return self.id.rpartition(":")[0]

    @property
    def target(self) -> str:
        """`OWN`, or the id of an endpoint."""
        return self.id.rpartition(":")[2]


Taken = DueDelivery | Literal["again"] | None


def lease_ms(settings: Settings) -> int:
    """How long a courier has for a call: after that, another one makes it."""
    return round((settings.webhook.limit_s * STRETCH + LEASE_SPARE_S) * 1000)


def deliver(settings: Settings, token: str, room: int) -> ScriptCall[Taken]:
    """Take the next call that is due; None where none is for a courier with `room` free threads.

    `again` = there is more to look at: ask once more.
    """
    arguments = {
        "token": token,
        "lease_ms": lease_ms(settings),
        "per_host": PER_HOST,
        "room": room,
        "reserved": RESERVED,
    }

    def parse(reply: Any) -> Taken:
        if not reply or reply == "again":
            return reply or None
        call, url, secrets, tries, flat = reply
        key, caller = call.rpartition(":")[0], views.pairs(flat)["caller"]
        return DueDelivery(call, token, url, tuple(secrets), int(tries), notice(key, flat), caller)

    return ScriptCall(DELIVER, arguments, parse)


def kept(due: DueDelivery, body: str) -> ScriptCall[str | None]:
    """Keep what every call of this notice will send; what to send, or None where the call is lost."""
    return ScriptCall(KEPT, {"id": due.id, "token": due.token}, lambda reply: reply, body)


def told(
    settings: Settings, due: DueDelivery, tried: Delivery, *, delay_s: float | None
) -> ScriptCall[Literal["written", "moved", "forget", "lost"]]:
    """Record a try; `delay_s` is the time until the next one, None where there is none.

    `moved` = the next try is made at once: the endpoint has another URL by now than the one that is gone.
    `forget` = the job is not to be stored, and no webhook is still to be told of it.
    """
    row = {
        "id": None if due.target == OWN else due.notice.id,
        "event": tried.event,
        "at": tried.at_ms,
        "ms": tried.took_ms,
        "status": tried.status,
        "error": tried.error,
    }
    arguments = {
        "id": due.id,
        "token": due.token,
        "url": due.url,
        "row": json.dumps({name: value for name, value in row.items() if value is not None}),
        "taken": tried.taken or None,
        "gone": tried.gone or None,
        "delay_ms": None if delay_s is None else round(delay_s * 1000),
    }
    return ScriptCall(TOLD, arguments, lambda reply: reply, constants=constants(settings))


Word = Literal["queued", "unhooked", "unended", "expired"]


def replay(settings: Settings, caller: str, job: str) -> ScriptCall[tuple[Word, JobView | None] | None]:
    """Tell a job's own webhook its end again; None where the caller has no such job."""
    arguments = {"caller": caller, "job": job}

    def parse(reply: list[Any] | None) -> tuple[Word, JobView | None] | None:
        return (reply[0], views.job(reply[1]) if len(reply) > 1 else None) if reply else None

    def size(reply: list[Any] | None) -> int:
        return views.answer_bytes(reply[1]) if reply and len(reply) > 1 else 0

    return ScriptCall(REPLAY, arguments, parse, size=size, constants=constants(settings))
