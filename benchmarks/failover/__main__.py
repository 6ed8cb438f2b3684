"""Is anything that was accepted lost with its Redis server? Eleven minutes.

A primary with two replicas and three Sentinels. Every fifteen seconds the primary is killed, stopped, cut
off, parted from the other servers, or handed over as planned, by turns, while callers submit, poll, follow,
stream and chat, and a webhook gets each end: for five minutes with `acknowledge=replica`, then as long with
`memory`. Then every answer is held against the only right one.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from benchmarks.chaos.__main__ import FLAWS, draw_jobs
from benchmarks.chaos.clients import PATIENCE_S, answered, ask_all, http_client, read_all
from benchmarks.chaos.history import History, Story, Verdict, judge, questions
from benchmarks.chaos.operations import note_reports, use_key
from benchmarks.failover.group import KINDS, Group, Kind
from benchmarks.frame import command, report
from benchmarks.frame.services import opened as opened_services
from benchmarks.frame.statistics import Bound, percentiles

VALUES = ("replica", "memory")
"""The setting `acknowledge`."""
PER_S, SEED = 10, 1
SECONDS, PERIOD_S, DOWN_S = 300.0, 15.0, 7.0
"""In all, from fault to fault, and until the lost server is back."""


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

    @property
    def verdict(self) -> Verdict:
        return judge(self.history)

    def waits(self, name: str) -> list[float]:
        """Return how long callers waited until `accepted_at` or `ended_at`."""
        moments = ((story.asked_at, getattr(story, name)) for story in self.history.stories)
        return sorted(at - asked_at for asked_at, at in moments if at is not None and asked_at)

    def figures(self) -> dict[str, Any]:
        verdict = self.verdict
        return verdict.counts | {
            "accepted": len(self.waits("accepted_at")),
            "faults": [asdict(fault) for fault in self.faults],
            "webhook_calls": self.webhook_calls,
            "answer_s": percentiles(self.waits("ended_at"), "p50", "p99"),
            "findings": verdict.findings,
        }


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    outcomes = [run(value, arguments.seconds, say) for value in VALUES]
    figures: dict[str, Any] = {
        "per_s": PER_S,
        "seconds": arguments.seconds,
        **{outcome.value: outcome.figures() for outcome in outcomes},
    }
    summary = json.dumps(figures, indent=1)
    return report.Findings(figures, _picture(outcomes), bounds(figures), summary=summary)


def bounds(figures: dict[str, Any]) -> list[Bound]:
    safe = figures["replica"]
    idle = sum(fault["moved_s"] is None for fault in safe["faults"])
    return [
        Bound(f"replica: {', '.join(FLAWS)}", sum(safe[name] for name in FLAWS), 0, "jobs"),
        Bound("faults that moved no primary", idle, 0, "faults"),
    ]


def run(value: str, seconds: float, say: command.Say) -> Outcome:
    with opened_services(partial(Group, acknowledge=value)) as group:
        say(f"everything serves: {value}")
        return command.run(_run(group, value, seconds, say))


async def _run(group: Group, value: str, seconds: float, say: command.Say) -> Outcome:
    stories = [Story(question) for question in questions(SEED, round(seconds * PER_S))]
    outcome = Outcome(value, History(stories))
    # No connection is kept between calls: an API may have closed it.
    async with http_client(0) as http:
        await use_key(http, http, group)
        asking = asyncio.create_task(ask_all(http, group, stories, PER_S, asyncio.Event()))
        await _strike(group, outcome, seconds, say)
        say(f"the last fault has passed; {outcome.history.open} questions have no answer yet")
        await answered([asking], outcome.history)
        asking.cancel()
        say("the last calls of the webhook")
        await _until_delivered(group, outcome)
        await read_all([http], group.urls, outcome.history)
    return outcome


async def _strike(group: Group, outcome: Outcome, seconds: float, say: command.Say) -> None:
    """Strike once each period, later if the servers are not whole again."""
    while (begun_s := time.time() - outcome.started) < seconds - DOWN_S:
        if await asyncio.to_thread(group.healthy):
            kind = KINDS[len(outcome.faults) % len(KINDS)]
            moved_s = await group.strike_primary(kind, DOWN_S)
            outcome.faults.append(Fault(kind, begun_s, time.time() - outcome.started, moved_s))
            say(f"{kind}, moved after {moved_s} s; {outcome.history.open} questions are open")
        passed_s = time.time() - outcome.started
        await asyncio.sleep(max(0.2, len(outcome.faults) * PERIOD_S - passed_s))


async def _until_delivered(group: Group, outcome: Outcome) -> None:
    """Wait for the webhook of each job, until none came for PATIENCE_S; note the calls that came."""
    # Calls that wait for their answer are no jobs that a webhook gets.
    stories = [
        story for story in outcome.history.stories if story.question.way in ("poll", "follow") and story.ends
    ]
    since, untold = time.monotonic(), len(stories) + 1
    while untold and time.monotonic() < since + PATIENCE_S:
        outcome.webhook_calls = len(note_reports(group.calls, stories))
        left = sum(not story.reports for story in stories)
        if left < untold:
            untold, since = left, time.monotonic()
        await asyncio.sleep(0.5)


def _picture(outcomes: Sequence[Outcome]) -> Figure:
    """Draw when jobs were accepted and answered next to the faults, and what callers waited for that."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    first = outcomes[0]
    spans = [(first.started + fault.at, first.started + fault.until) for fault in first.faults]
    draw_jobs(left, first.history, spans)
    report.label(left, f"s, {first.value} (red: the primary is lost or handed over)", "jobs")
    for outcome in outcomes:
        right.ecdf(outcome.waits("accepted_at"), label=f"{outcome.value}: accepted")
        right.ecdf(outcome.waits("ended_at"), label=f"{outcome.value}: answered", linestyle="--")
    report.label(right, "s that callers waited", "share", log=True, loc="lower right")
    return figure


if __name__ == "__main__":
    seconds = (SECONDS, "that questions are asked for, with each value")
    command.main("failover", __doc__, measure, seconds=seconds)
