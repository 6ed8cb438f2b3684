"""How long work that a fault interrupted waited for its next claim, from attempts and landed faults."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.chaos.faults import Landed
from benchmarks.chaos.history import Attempt, Story

GIVEN_UP = ("worker_lost", "worker_draining", "store_unavailable", "engine_stalled", "claim_lost")
"""Outcomes of attempts that say nothing about the run: another attempt follows."""
SLACK_S = 0.1
"""Largest difference between the harness's clock reading and the record server's."""
REACH_S = 10.0
"""How long a hung or cut-off worker may go on claiming before it notices."""


@dataclass(frozen=True)
class Recovery:
    """One interrupted attempt, or one outage of the record store, and the claim that ended it.

    `in_line_s` is how long it took until the work was back in line, None for an outage; the rest is the wait
    for a worker. `after_restart`: the record store had restarted so recently that rescue held back.
    """

    kind: str
    seconds: float
    after_restart: bool
    in_line_s: float | None = None


@dataclass(frozen=True)
class Recoveries:
    """`unexplained` counts attempts given up though no fault had struck their worker or the store."""

    all: tuple[Recovery, ...]
    unexplained: int


def recoveries(
    stories: Iterable[Story], landed: Sequence[Landed], pids: Mapping[str, int], lease_s: float
) -> Recoveries:
    """`pids` says which process a worker's id named."""
    runs = attempts_of_runs(stories)
    landed = sorted(landed, key=lambda x: x.at)
    outages = [x for x in landed if x.name == "redis"]
    by_pid: dict[int | None, list[Landed]] = defaultdict(list)
    for fault in landed:
        by_pid[fault.pid].append(fault)
    found = _of_outages(runs, outages, lease_s)
    unexplained = 0
    for attempt, following in (pair for attempts in runs for pair in pairwise(attempts)):
        if attempt.outcome not in GIVEN_UP:
            continue
        cause = _cause(attempt, following, by_pid[pids.get(attempt.worker, 0)], outages)
        if cause is None:
            unexplained += 1
            continue
        began = max(cause.until if cause in outages else cause.at, attempt.started_at)
        found.append(_recovery(cause.kind, began, following.started_at, outages, lease_s, attempt.ended_at))
    return Recoveries(tuple(found), unexplained)


def _of_outages(
    runs: Sequence[Sequence[Attempt]], outages: Sequence[Landed], lease_s: float
) -> list[Recovery]:
    """The time from the record store's return until the first claim, for each outage."""
    claims = sorted(attempt.started_at for attempts in runs for attempt in attempts)
    found = []
    for outage in outages:
        at = bisect_right(claims, outage.until)
        if at < len(claims):
            found.append(_recovery(outage.kind, outage.until, claims[at], outages, lease_s))
    return found


def attempts_of_runs(stories: Iterable[Story]) -> list[tuple[Attempt, ...]]:
    """Each run's attempts once, however many jobs shared it."""
    return list(dict.fromkeys(story.attempts for story in stories if story.attempts))


def _cause(
    attempt: Attempt, following: Attempt, own: Sequence[Landed], outages: Sequence[Landed]
) -> Landed | None:
    """The first fault of its own worker during the attempt, else the last one before it, else an outage."""
    drained = attempt.outcome == "worker_draining"
    fitting = [x for x in own if (x.kind == "worker_drained") == drained and x.at <= following.started_at]
    during = [x for x in fitting if x.at >= attempt.started_at - SLACK_S]
    before = [x for x in fitting if attempt.started_at - REACH_S <= x.at < attempt.started_at - SLACK_S]
    around = [x for x in outages if x.at <= following.started_at and x.until >= attempt.started_at - REACH_S]
    return next(iter(during or before[-1:] or around[-1:]), None)


def _recovery(
    kind: str,
    began: float,
    claimed: float,
    outages: Sequence[Landed],
    lease_s: float,
    in_line: float | None = None,
) -> Recovery:
    """Measures from the fault, or from the store's return where that was later."""
    began = max([began, *(x.until for x in outages if x.at <= claimed and began < x.until <= claimed)])
    restarts = [x.until for x in outages if x.kind == "redis_killed"]
    late = any(began - (2 * lease_s + 1) <= moment <= claimed for moment in restarts)
    waited = None if in_line is None else round(max(0.0, in_line - began), 3)
    return Recovery(kind, round(claimed - began, 3), late, waited)
