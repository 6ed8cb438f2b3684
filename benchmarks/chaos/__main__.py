"""Is anything lost, doubled or torn when processes crash? Ten minutes, longer on a busy machine.

Questions are asked at a rate while a fault strikes every second: processes are killed, paused, hung, cut off
from the record server, their picture decoders are killed; the record server is killed, paused, filled and
nearly filled; the busy model is removed and comes back, a caller with a webhook submits a burst of equal
jobs. Then every answer is held against the only right one, or against the failure that a fault explains.
"""

import asyncio
import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from matplotlib.figure import Figure

from benchmarks.chaos import services
from benchmarks.chaos.clients import answered, ask_all, http_client, read_all
from benchmarks.chaos.faults import (
    DECK,
    Fault,
    FaultInjector,
    InjectedFault,
    Recovery,
    explain,
    plan,
    recoveries,
)
from benchmarks.chaos.history import History, Question, Story, Verdict, judge, questions
from benchmarks.chaos.operations import Operations, use_key
from benchmarks.chaos.services import ChaosServices, reported
from benchmarks.frame import command, report
from benchmarks.frame.services import opened as opened_services
from benchmarks.frame.statistics import Bound, percentiles

JOBS, RATE, SEED = 10_000, 20, 1
LEASE_S = services.QUEUE["lease_s"]
ALLOWANCE_S = 3.0
"""What recovery may take beyond the lease."""
LIMITS_S = {False: LEASE_S + ALLOWANCE_S, True: 2 * LEASE_S + ALLOWANCE_S}
"""Targets of p99 without and with a recent restart of the record store."""
NAMES = {False: "recovery", True: "recovery_after_restart"}
FLAWS = ("lost", "doubled", "stuck", "torn", "untold")
"""What no job may be."""
DECODER_END_S = 10.0
"""How soon a decoder ends after the worker that started it."""


@dataclass(frozen=True)
class Outcome:
    history: History
    verdict: Verdict
    landed: Sequence[InjectedFault]
    recoveries: Sequence[Recovery]
    decoders: Collection[psutil.Process]


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    outcome = run(arguments.jobs, RATE, say)
    # A decoder that outlives its worker holds the memory that they share.
    alive = psutil.wait_procs(list(outcome.decoders), DECODER_END_S)[1]
    figures = outcome.verdict.counts | {
        **_recovery_figures(outcome),
        "faults": dict(Counter(fault.kind for fault in outcome.landed).most_common()),
        "decoders_left": len(alive),
        "settings": services.QUEUE,
        "findings": outcome.verdict.findings,
    }
    return report.Findings(figures, _picture(outcome), _bounds(figures), summary=str(figures))


def run(jobs: int, rate: float, say: command.Say) -> Outcome:
    """Ask `jobs` questions, `rate` a second, while faults strike."""
    with opened_services(ChaosServices) as opened:
        say(f"everything serves: {jobs} jobs at {rate:g} a second")
        return command.run(_run(opened, questions(SEED, jobs), rate, plan(SEED, jobs, LEASE_S), say))


async def _run(
    opened: ChaosServices, asked: Sequence[Question], rate: float, faults: Sequence[Fault], say: command.Say
) -> Outcome:
    # Between faults no connection is kept, whose other end may have been killed.
    async with http_client(0) as http, http_client(0) as caller, http_client(8) as quiet:
        stories = [Story(question) for question in asked]
        history, all_asked = History(stories.copy()), asyncio.Event()
        operations = Operations(opened, http, caller, history)
        await use_key(http, caller, opened)
        injector = FaultInjector(opened, operations)
        asking = asyncio.create_task(ask_all(http, opened, stories, rate, all_asked))
        try:
            await injector.run(faults, all_asked)
            say(f"the last of {len(injector.landed)} faults has passed; {history.open} have no answer yet")
            await answered([asking, *operations.polls], history)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        say("the last deliveries")
        await operations.until_delivered()
        say("the last reading")
        await read_all([quiet, caller], opened.urls, history)
        explain(history.stories, injector.landed)
    pids = {name: pid for worker in opened.of_kind("worker") for name, pid in reported(worker).items()}
    found = recoveries(history.stories, injector.landed, pids, LEASE_S)
    return Outcome(history, judge(history), injector.landed, found, injector.decoders)


def _recovery_figures(outcome: Outcome) -> dict[str, Any]:
    """Return how many there were, and the seconds that they took."""
    figures: dict[str, Any] = {}
    for after_restart, name in NAMES.items():
        seconds = _seconds(outcome, after_restart=after_restart)
        spread = percentiles(seconds, "p50", "p99") if seconds else {}
        figures[name.replace("recovery", "recoveries")] = len(seconds)
        figures |= {f"{name}_{share}_s": value for share, value in spread.items()}
    return figures


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    none = [Bound(name, figures[name], 0, "jobs") for name in FLAWS]
    none.append(Bound("decoders_left", figures["decoders_left"], 0, "processes"))
    p99s = {f"{name}_p99_s": LIMITS_S[after_restart] for after_restart, name in NAMES.items()}
    return none + [Bound(name, figures[name], limit, "s") for name, limit in p99s.items() if name in figures]


def _seconds(outcome: Outcome, *, after_restart: bool) -> list[float]:
    return [row.seconds for row in outcome.recoveries if row.after_restart == after_restart]


def _picture(outcome: Outcome) -> Figure:
    """Draw when jobs were accepted and ended next to the faults, and how long recovery took."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    spans = [(fault.at, fault.until) for fault in outcome.landed if fault.name == "redis"]
    draw_jobs(left, outcome.history, spans)
    report.label(left, "s since the first job was accepted (red: Redis hit)", "jobs")
    for after_restart, limit in LIMITS_S.items():
        if seconds := _seconds(outcome, after_restart=after_restart):
            label = "after a restart of Redis" if after_restart else "no restart of Redis lately"
            line = right.ecdf(seconds, label=label)
            right.axvline(limit, color=line.get_color(), linestyle="--", linewidth=1)
    report.label(right, "s from the fault to the next claim (dashed: limit of p99)", loc="lower right")
    return figure


def draw_jobs(panel: Any, history: History, spans: Sequence[tuple[float, float]]) -> None:
    """Draw how many jobs were accepted and ended since the first one was, and these spans of Unix seconds."""
    accepted = sorted(story.accepted_at for story in history.stories if story.accepted_at)
    ended = sorted(story.ended_at for story in history.stories if story.ended_at)
    began = accepted[0]
    for moments, label in ((accepted, "accepted"), (ended, "ended")):
        panel.plot([at - began for at in moments], range(1, len(moments) + 1), label=label)
    for at, until in spans:
        panel.axvspan(at - began, until - began, color=report.SERIES[3], alpha=0.3)


if __name__ == "__main__":
    faults = textwrap.fill(f"The faults: {', '.join(DECK)}.", 110)
    command.main("chaos", f"{__doc__}\n{faults}\n", measure, jobs=(JOBS, "questions asked"))
