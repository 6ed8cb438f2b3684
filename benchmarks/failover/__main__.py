"""Is anything that was accepted lost with its Redis server? Sixteen minutes.

A primary with two replicas and three Sentinels. Every fifteen seconds the primary is killed, stopped, cut
off, parted from the other servers, or handed over as planned, by turns, while callers submit, poll, follow,
stream and chat, and a webhook gets each end: for five minutes with `acknowledge=replica`, then as long with
`memory`. In as long again an operator hands the primary over behind a virtual address, with `replica`. Then
every answer is held against the only right one. `--quick 1` is half a minute with `replica` alone.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import httpx
from matplotlib.figure import Figure

from benchmarks.chaos.__main__ import FLAWS
from benchmarks.chaos.clients import PATIENCE_S, answered, ask_all, http_client, read_all
from benchmarks.chaos.history import History, Story, Verdict, judge, questions
from benchmarks.chaos.receiver import HOST
from benchmarks.failover.group import AddressedGroup, Group, Kind
from benchmarks.frame import command, report
from benchmarks.frame.services import opened as opened_services
from benchmarks.frame.statistics import Bound, percentiles
from benchmarks.webhooks.receivers import read

ADDRESS = "replica, address"
VALUES = ("replica", "memory", ADDRESS)
"""The setting, and whether the primary is found at a virtual address."""
PER_S, SEED = 10, 1


@dataclass(frozen=True)
class Pace:
    """Seconds in all, from fault to fault, and until the lost server is back."""

    seconds: float
    period_s: float
    down_s: float


WHOLE, QUICK = Pace(300.0, 15.0, 7.0), Pace(32.0, 10.0, 5.0)


@dataclass(frozen=True)
class Fault:
    """Seconds since the run began; `moved_s` later another server was the primary."""

    kind: Kind
    at: float
    until: float
    moved_s: float | None


@dataclass
class Outcome:
    value: str
    history: History
    started: float = field(default_factory=time.time)
    faults: list[Fault] = field(default_factory=list)
    webhook_calls: int = 0
    webhook_repeats: int = 0

    @property
    def verdict(self) -> Verdict:
        return judge(self.history)

    def accept_s(self) -> list[float]:
        """Return how long callers waited until their job was accepted."""
        return self._waits("accepted_at")

    def answer_s(self) -> list[float]:
        """Return how long callers waited for the answer."""
        return self._waits("ended_at")

    def _waits(self, name: str) -> list[float]:
        moments = ((story.asked_at, getattr(story, name)) for story in self.history.stories)
        return sorted(at - asked_at for asked_at, at in moments if at is not None and asked_at)

    def figures(self) -> dict[str, Any]:
        stories, verdict = self.history.stories, self.verdict
        return verdict.counts | {
            "accepted": sum(story.accepted_at is not None for story in stories),
            "faults": [asdict(fault) for fault in self.faults],
            "retries": sum(story.retries for story in stories),
            "webhook_jobs": sum(story.reports is not None for story in stories),
            "webhook_calls": self.webhook_calls,
            "webhook_repeats": self.webhook_repeats,
            "computed_again": sum(max(len(story.attempts) - 1, 0) for story in stories),
            "streams_resumed": sum(story.resumed for story in stories),
            "accept_s": percentiles(self.accept_s(), "p50", "p90", "p99"),
            "answer_s": percentiles(self.answer_s(), "p50", "p90", "p99"),
            "findings": verdict.findings,
        }


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    pace = QUICK if arguments.quick else replace(WHOLE, seconds=arguments.seconds)
    values = VALUES[:1] if arguments.quick else VALUES
    outcomes = [run(value, pace, say) for value in values]
    figures: dict[str, Any] = {
        "per_s": PER_S,
        "pace": asdict(pace),
        **{outcome.value: outcome.figures() for outcome in outcomes},
    }
    summary = json.dumps(figures, indent=1)
    return report.Findings(figures, _picture(outcomes), bounds(figures), summary=summary)


def bounds(figures: dict[str, Any]) -> list[Bound]:
    safe = {value: figures[value] for value in (VALUES[0], ADDRESS) if value in figures}
    idle = sum(fault["moved_s"] is None for row in safe.values() for fault in row["faults"])
    flawed = (
        Bound(f"{value}: {', '.join(FLAWS)}", sum(row[name] for name in FLAWS), 0, "jobs")
        for value, row in safe.items()
    )
    return [*flawed, Bound("faults that moved no primary", idle, 0, "faults")]


def run(value: str, pace: Pace, say: command.Say) -> Outcome:
    made, acknowledge = AddressedGroup if value == ADDRESS else Group, value.partition(",")[0]
    with opened_services(partial(made, acknowledge=acknowledge)) as group:
        say(f"everything serves: {value}")
        return command.run(_run(group, value, pace, say))


async def _run(group: Group, value: str, pace: Pace, say: command.Say) -> Outcome:
    stories = [Story(question) for question in questions(SEED, round(pace.seconds * PER_S))]
    outcome = Outcome(value, History(stories))
    # No connection is kept between calls: an API may have closed it.
    async with http_client(0) as http:
        await _use_key(http, group)
        asking = asyncio.create_task(ask_all(http, group, stories, PER_S, asyncio.Event()))
        await _strike(group, outcome, pace, say)
        say(f"the last fault has passed; {outcome.history.open} questions have no answer yet")
        await answered([asking], outcome.history)
        asking.cancel()
        say("the last calls of the webhook")
        await _until_told(group, outcome)
        await read_all([http], group.urls, outcome.history)
    return outcome


async def _use_key(http: httpx.AsyncClient, group: Group) -> None:
    """Go on with a key whose default webhook gets each end."""
    keys, hook = f"{group.urls[0]}/v1/admin/keys", {"url": f"http://{HOST}:{group.hook_port}/told"}
    key = (await http.post(keys, json={"name": "failover"})).raise_for_status().json()
    (await http.put(f"{keys}/{key['id']}/webhook", json=hook)).raise_for_status()
    http.headers["authorization"] = f"Bearer {key['secret']}"


async def _strike(group: Group, outcome: Outcome, pace: Pace, say: command.Say) -> None:
    """One fault each period, later where the servers are not whole again."""
    while (begun_s := time.time() - outcome.started) < pace.seconds - pace.down_s:
        if await asyncio.to_thread(group.healthy):
            kind = group.kinds[len(outcome.faults) % len(group.kinds)]
            moved_s = await group.strike_primary(kind, pace.down_s)
            outcome.faults.append(Fault(kind, begun_s, time.time() - outcome.started, moved_s))
            say(f"{kind}, moved after {moved_s} s; {outcome.history.open} questions are open")
        passed_s = time.time() - outcome.started
        await asyncio.sleep(max(0.2, len(outcome.faults) * pace.period_s - passed_s))


async def _until_told(group: Group, outcome: Outcome) -> None:
    """Wait for the webhook of each job, until none came for PATIENCE_S; note those that came."""
    size, since, stories = -1, time.monotonic(), outcome.history.stories
    while time.monotonic() < since + PATIENCE_S:
        told = defaultdict[str, set[str]](set)
        calls = read(group.calls)
        outcome.webhook_calls = len(calls)
        outcome.webhook_repeats = len(calls) - len({call.id for call in calls})
        for call in calls:
            job = json.loads(call.body)["data"]
            told[job["id"]].add(job["status"])
        if len(told) > size:
            size, since = len(told), time.monotonic()
        # Calls that wait for their answer are no jobs that a webhook gets.
        jobs = [story for story in stories if story.question.way in ("poll", "follow") and story.ends]
        for story in jobs:
            story.reports = {HOST: set().union(*(told[job] for job in story.ids))}
        if all(story.reports and story.reports[HOST] for story in jobs):
            return
        await asyncio.sleep(0.5)


def _picture(outcomes: Sequence[Outcome]) -> Figure:
    """Left when jobs were accepted and answered next to the faults, right what callers waited for that."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    first = outcomes[0]
    for name, label in (("accepted_at", "accepted"), ("ended_at", "answered")):
        moments = [getattr(story, name) for story in first.history.stories if getattr(story, name)]
        report.counts(left, moments, first.started, label)
    for fault in first.faults:
        left.axvspan(fault.at, fault.until, color=report.SERIES[3], alpha=0.3)
    report.label(left, f"s, {first.value} (red: the primary is lost or handed over)", "jobs")
    for outcome in outcomes:
        report.shares(right, outcome.accept_s(), f"{outcome.value}: accepted")
        report.shares(right, outcome.answer_s(), f"{outcome.value}: answered", linestyle="--")
    report.label(right, "s that callers waited", "share", log=True, loc="lower right")
    return figure


if __name__ == "__main__":
    seconds = (WHOLE.seconds, "that questions are asked for, with each value")
    command.main(
        "failover", __doc__, measure, seconds=seconds, quick=(0, "1 = half a minute, `replica` alone")
    )
