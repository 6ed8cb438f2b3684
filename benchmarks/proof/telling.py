"""The text of docs/proof.md for each figure, with the numbers that the benchmarks wrote."""

from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]

CHAOS = """\
{jobs:,} jobs, polled, followed and streamed, while {count} faults hit three workers, two APIs, two couriers
and Redis: {struck}. *Lost*: accepted and then unknown, failed or answered wrongly; *doubled*: two ends;
*stuck*: no end; *torn*: a stream with a gap or a repeat. *Recovery* is from a fault to the next claim of
the run that it interrupted. By design that is the lease ({lease_s:g} s) and up to four maintenance passes
({rescue_s:g} s each); the rest is the wait for a worker that is up. A run on which two workers crashed also
waits to run alone.
"""
CANCEL = """\
The shipped model on one row, with queued jobs. {samples} times the running job is cancelled; timed from
before the request is sent to the worker's next claim, and to the next job's first text.
"""
ETA = """\
{jobs:,} jobs of each load for two workers, simulated. The estimate should hold for half of them (p50) and
for nine in ten (p90).
"""
CACHE = """\
{pairs:,} random pairs of requests. Half differ in exactly one of {fields} fields; the others are the same,
written differently. Only the same may, and must, be answered from the cache.
"""
FAIRNESS = """\
One simulated caller submits 5,000 jobs, and twenty others 20 each. Jain's index is 1 if all were served the
same while all wait. 99 of 100 jobs of the twenty began within {fair:g} s; in order of arrival it would have
been {fifo:g} s.
"""
WEBHOOKS = """\
{jobs:,} jobs, each with a webhook, and one webhook for all: {calls:,} deliveries to receivers that fail,
hang, restart, answer 410 or never answer, while couriers were killed {kills} times. {taken:,} were
accepted, {refused:,} refused permanently and {given_up:,} abandoned and logged; *lost* is none of these.
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
