"""The transitions of webhooks: claim a call, report how it went, make it again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

from shared.job import Delivery, JobView
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.script import ScriptCall
from shared.webhooks import Notice

Again = Literal["again"]
Reported = Literal["settled", "forget", "lost"]
Word = Literal["queued", "unhooked", "unended", "expired"]
LIMIT = 100
"""Deliveries that one call sends again."""
BATCH_FIELDS = 4
"""Fields of a batch's event."""


@dataclass(frozen=True)
class DueCall:
    """A claimed call. `tries` counts failures.

    All `secrets` sign: the target's own, and those from before a rotation. Without any, the service's signs.
    """

    id: str
    kind: str
    token: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    tries: int
    notice: Notice
    caller: str


def claim(settings: Settings, token: str) -> ScriptCall[DueCall | Again | None]:
    """Take the next call that is due. "again" if many were dropped instead, None if none is due."""

    def parse(reply: Any) -> DueCall | Again | None:
        if not isinstance(reply, list):
            return "again" if reply == "again" else None
        id, kind, url, secrets, tries, event = reply
        caller, notice = _batch_event(id, event) if len(event) == BATCH_FIELDS else _job_event(kind, event)
        return DueCall(id, kind, token, url, tuple(secrets), tries, notice, caller)

    return ScriptCall("call_claim", {"token": token}, parse, constants=constants(settings))


def report(
    settings: Settings, call: DueCall, tried: Delivery | None, pause_s: float | None = None
) -> ScriptCall[Reported]:
    """Record a try, after which the call is made again in `pause_s`, or is over.

    Without `tried` the call was cut off, and is made again now. `forget`: its job is not to be stored.
    `lost`: the claim is another courier's.
    """
    arguments = {
        "id": call.id,
        "kind": call.kind,
        "token": call.token,
        "caller": call.caller,
        "row": json.dumps(asdict(tried)) if tried else None,
        "taken": (tried is not None and tried.taken) or None,
        "gone": (tried is not None and tried.gone) or None,
        "pause": 0 if tried is None else None if pause_s is None else round(pause_s * 1000),
    }
    return ScriptCall("call_report", arguments, lambda reply: reply, constants=constants(settings))


def redeliver(settings: Settings, caller: str, job: str) -> ScriptCall[tuple[Word, JobView | None] | None]:
    """Send the end of a job to its webhook again; None if the caller has no such job."""

    def parse(reply: list[Any] | None) -> tuple[Word, JobView | None] | None:
        return (reply[0], views.job(reply[1]) if len(reply) > 1 else None) if reply else None

    def size(reply: list[Any] | None) -> int:
        return views.answer_bytes(reply[1]) if reply and len(reply) > 1 else 0

    arguments = {"caller": caller, "job": job}
    return ScriptCall("redeliver", arguments, parse, size=size, constants=constants(settings))


def redeliver_failed(
    settings: Settings, caller: str, since_ms: int, till_ms: int | None = None
) -> ScriptCall[tuple[int, int | None]]:
    """Send again what failed from `since_ms` to `till_ms`, or until now, up to LIMIT.

    Returns how many are sent, and `till_ms` for the next call, None if there are no more.
    """

    def parse(reply: Sequence[int]) -> tuple[int, int | None]:
        return reply[0], reply[2] if reply[1] == LIMIT else None

    arguments = {"caller": caller, "since": since_ms, "till": till_ms, "limit": LIMIT}
    return ScriptCall("redeliver_failed", arguments, parse, constants=constants(settings))


def counts() -> ScriptCall[tuple[int, int, int]]:
    """How many calls are due, wait for a later try, and are being made."""
    return ScriptCall("calls", {}, lambda reply: (reply[0], reply[1], reply[2]))


def _batch_event(id: str, fields: Sequence[str]) -> tuple[str, Notice]:
    type, at, caller, data = fields
    return caller, Notice(f"msg_{id}_ended", type, int(at), id, data=data)


def _job_event(kind: str, reply: list[Any]) -> tuple[str, Notice]:
    """What its view said when it began, or says since it ended."""
    job, record = cast(JobView, views.job(reply)), views.record((reply[1], reply[2]))
    if kind == "began":
        job = replace(job, status="running", ended_ms=None, result=None, error=None)
    at_ms = job.ended_ms or job.started_ms or job.created_ms
    notice = Notice(
        id=f"msg_{job.id.removeprefix('job_')}_{kind}",
        type=f"job.{job.status}",
        at_ms=at_ms,
        subject=job.id,
        job=job,
        request_id=record.get("request_id", ""),
        trace=record.get("trace", ""),
    )
    return job.caller, notice
