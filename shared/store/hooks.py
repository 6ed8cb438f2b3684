"""The courier's transitions: calls of webhooks that are due, and how they went; and a caller's replay."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from shared.job import Delivery, JobView
from shared.result import Result
from shared.settings import Settings
from shared.store import views
from shared.store.script import Call, Script

DELIVER, KEPT, TOLD, REPLAY = Script("deliver"), Script("kept"), Script("told"), Script("replay")
PER_HOST = 4
"""Calls of one host at once, by all couriers together: what hangs there holds no more than these."""
LEASE_SPARE_S = 5
"""What a call may take beside the exchange itself before another courier makes it."""


@dataclass(frozen=True)
class Errand:
    """A call that a courier has taken.

    `body` is None until it was rendered and kept, `tries` counts failures, `job` is the job as it is now,
    with the answer that it had at its end.
    """

    id: str
    token: str
    url: str
    secret: str = field(repr=False)
    event: str
    at_ms: int
    tries: int
    body: str | None = field(repr=False)
    job: JobView

    @property
    def message_id(self) -> str:
        """The same for every try and every replay."""
        return "msg_" + self.id.removeprefix("job_").replace(":", "_")


def deliver(settings: Settings, token: str) -> Call[Errand | None]:
    """Take the call that is due first of a host that is not called too often; None where there is none."""
    arguments = {
        "token": token,
        "lease_ms": round((settings.webhook.limit_s + LEASE_SPARE_S) * 1000),
        "per_host": PER_HOST,
        "worker_ttl_s": settings.queue.worker_ttl_s,
    }

    def parse(reply: list[Any] | None) -> Errand | None:
        if not reply:
            return None
        call, url, secret, event, at, tries, body, result, view = reply
        seen = cast(JobView, views.job(view))
        if result:
            seen = replace(seen, result=Result.model_validate_json(result))
        return Errand(call, token, url, secret, event, int(at), int(tries), body or None, seen)

    return Call(DELIVER, arguments, parse)


def kept(errand: Errand, body: str) -> Call[Literal["kept", "lost"]]:
    """Keep what every try of this call will send."""
    return Call(KEPT, {"id": errand.id, "token": errand.token}, lambda reply: reply, body)


def told(
    settings: Settings, errand: Errand, tried: Delivery, *, delay_s: float | None
) -> Call[Literal["written", "lost"]]:
    """Write down a try. `delay_s` = it is made again after so long; None = it is over."""
    row = {
        "event": tried.event,
        "at": tried.at_ms,
        "ms": tried.took_ms,
        "status": tried.status,
        "error": tried.error,
    }
    arguments = {
        "id": errand.id,
        "token": errand.token,
        "row": json.dumps({name: value for name, value in row.items() if value is not None}),
        "taken": tried.taken or None,
        "gone": tried.gone or None,
        "delay_ms": None if delay_s is None else round(delay_s * 1000),
        "job_s": settings.retention.job_s,
    }
    return Call(TOLD, arguments, lambda reply: reply)


Word = Literal["queued", "unhooked", "unended", "expired"]


def replay(settings: Settings, caller: str, job: str) -> Call[tuple[Word, JobView | None] | None]:
    """Tell a job's end again; None where the caller has no such job."""
    arguments = {"caller": caller, "job": job, "worker_ttl_s": settings.queue.worker_ttl_s}

    def parse(reply: list[Any] | None) -> tuple[Word, JobView | None] | None:
        return (reply[0], views.job(reply[1]) if len(reply) > 1 else None) if reply else None

    return Call(REPLAY, arguments, parse)
