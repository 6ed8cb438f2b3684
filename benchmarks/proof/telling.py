"""Says in words what was done for each figure, with the numbers that the benchmarks wrote."""

from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]

CHAOS = """\
{jobs:,} jobs, polled, followed and streamed by their callers, while {count} faults struck three workers,
two APIs, two couriers and the record server: {struck}.
*Lost* was accepted and then unknown, failed or answered wrongly; *doubled* has two ends; *stuck* never
ended; *torn* is a stream with a gap or a repeat.

*Recovery* is from a fault to the next claim of the run that it interrupted. By design that is the lease
({lease_s:g} s), three passes of maintenance where the leading courier died as well and one for a nudge that a
dead worker took along ({rescue_s:g} s each). A run on which two workers died waits up to 2 s more for one to
make itself empty, and for others like it, as each has a worker to itself. The rest is the wait for a worker
that is up.
"""
CANCEL = """\
The shipped model on one row, with a line behind it. {samples} times the job that is being answered is
cancelled. Counted from before the request is sent: until the worker takes the next claim, and until the
next job's first text is there, its prompt read and its first step done.
"""
ETA = """\
{jobs:,} jobs of each load come to two workers. Each is told when it will begin: half of them by then
(p50), nine in ten by then (p90). Here is how many did.
"""
CACHE = """\
{pairs:,} pairs of requests at random. One in two differs in exactly one of {fields} fields, by as little as
a blank or one digit of a picture's digest; the others are the same, spelled otherwise. The first of each
is computed, then the second is asked: only the same may be answered from the cache, and must be.
"""
FAIRNESS = """\
One caller floods the line with 5,000 jobs, and twenty others bring 20 each. Jain's index of what each was
served while all wait is 1 where all got the same. 99 of 100 jobs of the twenty began within {fair:g} s;
in the order of arrival it would have been {fifo:g} s.
"""
WEBHOOKS = """\
{jobs:,} jobs, each with a webhook of its own, and an endpoint that is told of all: {calls:,} calls to make,
to receivers that fail, hang, restart, want no more or never answer, while couriers were killed {kills}
times. {taken:,} were taken, {refused:,} refused for good and {given_up:,} given up and logged; *lost* is
what is none of these.
"""


def chaos(found: Found) -> str:
    struck = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in found["faults"].items())
    count, waits = sum(found["faults"].values()), found["settings"]
    return CHAOS.format(jobs=found["jobs"], count=count, struck=struck, **waits)


def cancel(found: Found) -> str:
    return CANCEL.format(**found)


def eta(found: Found) -> str:
    return ETA.format(**found)


def cache(found: Found) -> str:
    return CACHE.format(pairs=found["pairs"], fields=len(found["asked"]) - 1)


def fairness(found: Found) -> str:
    waits = {order: row["others_wait_s"]["p99"] for order, row in found["equal"].items()}
    return FAIRNESS.format(**waits)


def webhooks(found: Found) -> str:
    return WEBHOOKS.format(**found)
