"""A courier's transitions of webhook calls: what a claimed one needs, and how it went; a caller's replay."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shared.job import Delivery, JobView
from shared.settings import Settings
from shared.store import views
from shared.store.claims import Claim
from shared.store.constants import constants
from shared.store.script import ScriptCall
from shared.store.webhook_events import notice
from shared.webhooks import Notice

OVERLOADED = 429


@dataclass(frozen=True)
class DueDelivery:
    """What the call of a claim needs; `tries` counts failures.

    All `secrets` sign: an endpoint's own and those from before a rotation. Without any, the service's signs.
    """

    claim: Claim
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    tries: int
    notice: Notice


def delivery(claim: Claim) -> ScriptCall[DueDelivery | None]:
    """None where nobody is to be called any more."""

    def parse(reply: Any) -> DueDelivery | None:
        if not reply:
            return None
        url, secrets, tries, flat = reply
        key = claim.id.removeprefix("hook:").rpartition(":")[0]
        return DueDelivery(claim, url, tuple(secrets), tries, notice(key, flat))

    return ScriptCall("delivery", {"id": claim.id}, parse)


Ended = Literal["settled", "moved", "forget", "lost"]


def end_delivery(
    settings: Settings, claim: Claim, due: DueDelivery | None = None, tried: Delivery | None = None
) -> ScriptCall[Ended]:
    """End a call with its last try, or without one.

    `moved` = it is made once more, at once: the endpoint has another URL by now than the one that is gone.
    `forget` = the job is not to be stored, and no call of its own webhook is left.
    """
    report = _report(due, tried) if due and tried else None
    arguments = {"id": claim.id, "token": claim.token, "tried": report}
    return ScriptCall("settle", arguments, lambda reply: reply, constants=constants(settings))


def postpone_delivery(
    settings: Settings, due: DueDelivery, tried: Delivery, delay_s: float
) -> ScriptCall[bool]:
    """Record a try after which the call is made again in `delay_s`; False where the claim is lost."""
    arguments = {
        "id": due.claim.id,
        "token": due.claim.token,
        "reason": "refused",
        "spend": True,
        "most": due.tries + 2,
        "pause": round(delay_s * 1000),
        "tried": _report(due, tried),
    }
    return ScriptCall(
        "give_back", arguments, lambda reply: reply[0] == "postponed", constants=constants(settings)
    )


def _report(due: DueDelivery, tried: Delivery) -> dict[str, Any]:
    """`borne`: its host answered, and not that it can do no more."""
    answered = tried.status is not None and tried.status < 500 and tried.status != OVERLOADED
    return {
        "url": due.url,
        "row": json.dumps({"id": due.notice.id} | asdict(tried)),
        "taken": tried.taken,
        "gone": tried.gone,
        "borne": answered,
    }


Word = Literal["queued", "unhooked", "unended", "expired"]


def replay(settings: Settings, caller: str, job: str) -> ScriptCall[tuple[Word, JobView | None] | None]:
    """Send a job's own webhook its end again; None where the caller has no such job."""
    arguments = {"caller": caller, "job": job}

    def parse(reply: list[Any] | None) -> tuple[Word, JobView | None] | None:
        return (reply[0], views.job(reply[1]) if len(reply) > 1 else None) if reply else None

    def size(reply: list[Any] | None) -> int:
        return views.answer_bytes(reply[1]) if reply and len(reply) > 1 else 0

    return ScriptCall("replay", arguments, parse, size=size, constants=constants(settings))
