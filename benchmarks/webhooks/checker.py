"""What became of every call that had to be made: taken, refused permanently, given up and logged, or lost."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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


@dataclass
class Verdict:
    """The counts of faults and of the rest, and a line for each fault."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, kind: str, line: str) -> None:
        self.counts[kind] += 1
        self.findings.append(f"{kind}: {line}")


def given_up(lines: Iterable[str]) -> set[str]:
    """Return the jobs that the couriers' logs name."""
    return {match[1] for line in lines if (match := GIVEN_UP.search(line))}


def judge(
    jobs: Sequence[DeliveredJob], calls: Sequence[Received], exhausted: set[str], secret: str
) -> Verdict:
    """`exhausted` are the jobs whose calls were given up, `secret` signs."""
    verdict = Verdict()
    by_id: dict[str, list[Received]] = {}
    for call in calls:
        by_id.setdefault(call.id, []).append(call)
        if not _is_signed(call, secret):
            verdict.add("forged", call.id)
    for job in jobs:
        own = by_id.pop(job.message, [])
        _judge_call(verdict, job, own, exhausted)
        if len({call.body for call in own}) > 1:
            verdict.add("torn", job.id)
    for message in by_id:
        verdict.add("unasked", message)
    return verdict


def _judge_call(verdict: Verdict, job: DeliveredJob, calls: Sequence[Received], exhausted: set[str]) -> None:
    """One call that had to be made: all its tries."""
    statuses = Counter(call.status for call in calls)
    verdict.counts["calls"] += 1
    if statuses[204]:
        verdict.counts["taken"] += 1
    elif statuses[410]:
        verdict.counts["refused"] += 1
    elif job.id in exhausted:
        verdict.counts["given_up"] += 1
    else:
        verdict.add("lost", f"{job.id}: {dict(statuses)}")
    # Where the receiver's answer got lost, a call may be given up though it was taken.
    if bool(statuses[204]) != job.delivered and job.id not in exhausted:
        verdict.add("misreported", f"{job.id} says {job.delivered}, its receiver {dict(statuses)}")


def _is_signed(call: Received, secret: str) -> bool:
    expected = signature(key_of(secret), call.id, call.timestamp, call.body.encode())
    return expected in call.signatures and json.loads(call.body)["data"]["id"] in _job(call.id)


def _job(message: str) -> str:
    return f"job_{message.removeprefix('msg_').removesuffix('_ended')}"
