"""What became of every call that had to be made: taken, refused permanently, given up and logged, or lost."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.webhooks.receivers import Received
from shared.webhooks import key_of, signature

GIVEN_UP = re.compile(r"(job_[0-9a-f]+): the webhook at [0-9.]+ is given up")


@dataclass(frozen=True)
class DeliveredJob:
    """A job that ended, with the behaviour of its own receiver; `delivered` is what its record says."""

    id: str
    behaviour: str
    delivered: bool

    @property
    def message(self) -> str:
        return f"msg_{self.id.removeprefix('job_')}_ended"


def given_up(lines: Iterable[str]) -> set[str]:
    """Return the jobs that the couriers' logs name."""
    return {match[1] for line in lines if (match := GIVEN_UP.search(line))}


def judge(
    jobs: Sequence[DeliveredJob], calls: Sequence[Received], exhausted: set[str], secret: str
) -> tuple[Counter[str], list[str]]:
    """Return the counts of faults and of the rest, and a line for each fault.

    `exhausted` are the jobs whose calls were given up, `secret` signs.
    """
    faults = [("forged", call.id) for call in calls if not _is_signed(call, secret)]
    counts = Counter(calls=len(jobs))
    by_id: dict[str, list[Received]] = {}
    for call in calls:
        by_id.setdefault(call.id, []).append(call)
    for job in jobs:
        own = by_id.pop(job.message, [])
        statuses = Counter(call.status for call in own)
        if statuses[204]:
            counts["taken"] += 1
        elif statuses[410]:
            counts["refused"] += 1
        elif job.id in exhausted:
            counts["given_up"] += 1
        else:
            faults.append(("lost", f"{job.id}: {dict(statuses)}"))
        # Where the receiver's answer got lost, a call may be given up though it was taken.
        if bool(statuses[204]) != job.delivered and job.id not in exhausted:
            line = f"{job.id} says {job.delivered}, its receiver {dict(statuses)}"
            faults.append(("misreported", line))
        if len({call.body for call in own}) > 1:
            faults.append(("torn", job.id))
    faults += [("unasked", message) for message in by_id]
    counts.update(kind for kind, _ in faults)
    return counts, [f"{kind}: {line}" for kind, line in faults]


def _is_signed(call: Received, secret: str) -> bool:
    expected = signature(key_of(secret), call.id, call.timestamp, call.body.encode())
    job = f"job_{call.id.removeprefix('msg_').removesuffix('_ended')}"
    return expected in call.signatures and json.loads(call.body)["data"]["id"] == job
