"""What is lost when things die: ten minutes, longer where the machine has other work.

Questions are asked at a rate while a fault strikes every second: processes are killed, paused, hung, cut off
from the record server, their picture decoders are killed; the record server is killed, paused, filled and
nearly filled; records of jobs are overwritten, the busy model is removed and comes back, a caller with
sixteen webhook endpoints submits a burst of equal jobs.
Then every answer is held against the only right one, or against the failure that a fault explains.
"""

import asyncio
import secrets
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from matplotlib.figure import Figure

from benchmarks.chaos import services
from benchmarks.chaos.clients import Client, read_all
from benchmarks.chaos.faults import (
    DECK,
    REPORT,
    Fault,
    FaultInjector,
    InjectedFault,
    Recoveries,
    Recovery,
    attempts_of_runs,
    explain,
    plan,
    recoveries,
)
from benchmarks.chaos.history import History, Question, Story, Verdict, judge, questions
from benchmarks.chaos.operations import Operations
from benchmarks.chaos.services import ChaosServices
from benchmarks.frame import command, longest, report
from benchmarks.frame.services import opened as opened_services
from benchmarks.frame.statistics import Bound, percentiles

JOBS, RATE, SEED = 10_000, 20, 1
PATIENCE_S = 60.0
"""After the last fault: when no job has ended for so long, those that have not are stuck."""
OPEN_AT_ONCE = 300
"""Questions that may be open at once; more would only wait in the queue."""
REPORT_S = 10.0
IDLE_CONNECTIONS = 8
TIMEOUT = httpx.Timeout(30, connect=5)
LEASE_S = services.QUEUE["lease_s"]
ALLOWANCE_S = 3.0
"""What recovery may take beyond the lease."""
FLAWS = ("lost", "doubled", "stuck", "torn", "untold")
"""What no job may be."""


@dataclass(frozen=True)
class Outcome:
    """`lines` is what nodes said."""

    history: History
    verdict: Verdict
    landed: Sequence[InjectedFault]
    missed: int
    longest_ms: dict[str, float]
    recoveries: Recoveries
    children: Collection[psutil.Process]
    lines: Sequence[str]
    children_left: int = 0


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    outcome = run(arguments.jobs, RATE, arguments.seed, say)
    figures = _figures(outcome) | {"seed": arguments.seed}
    summary = f"{longest.table(outcome.longest_ms)}\n{figures}"
    return report.Findings(figures, _picture(outcome), _bounds(figures), summary=summary)


def run(
    jobs: int,
    rate: float,
    seed: int,
    say: command.Say,
    make: Callable[[Path], ChaosServices] = ChaosServices,
    deck: Mapping[str, int] = DECK,
) -> Outcome:
    """Ask `jobs` questions, `rate` a second, while faults strike."""
    with opened_services(make) as opened:
        say(f"everything serves: {jobs} jobs at {rate:g} a second, seed {seed}")
        asked = questions(seed, jobs, opened.names)
        outcome = command.run(_run(opened, asked, rate, plan(seed, jobs, LEASE_S, deck), say))
    return replace(outcome, children_left=services.still_alive(outcome.children))


async def _run(
    opened: ChaosServices, asked: Sequence[Question], rate: float, faults: Sequence[Fault], say: command.Say
) -> Outcome:
    # Between faults no connection is kept, whose other end may have been killed.
    async with _http(0) as http, _http(0) as caller, _http(IDLE_CONNECTIONS) as quiet:
        stories = [Story(question) for question in asked]
        history, all_asked = History(stories.copy()), asyncio.Event()
        operations = Operations(opened, http, caller, history)
        await operations.register()
        injector = FaultInjector(opened, operations)
        questioning = _ask_all(http, opened, stories, rate, all_asked)
        async with (
            _background(questioning) as asking,
            _background(_report(history, injector, say)),
            _background(injector.read_slow_log()),
        ):
            await injector.run(faults, all_asked)
            say(f"the last fault has passed; {history.open} questions have no answer yet")
            await _while_any_ends([asking, *operations.polls], history)
            say("the last deliveries")
            await operations.until_told()
        say("the last reading")
        await read_all([quiet, caller], opened.urls, history)
        explain(history.stories, injector.landed, operations.jobs_by_run())
    return Outcome(
        history=history,
        verdict=judge(history),
        landed=tuple(injector.landed),
        missed=injector.missed,
        longest_ms=injector.longest.figures,
        children=injector.children,
        lines=[line for node in opened.of_kind("node") for line in node.lines()],
        recoveries=recoveries(history.stories, injector.landed, _pids(opened), LEASE_S),
    )


def _http(idle: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
    headers = {"authorization": f"Bearer {services.ADMIN_KEY}"}
    return httpx.AsyncClient(limits=limits, timeout=TIMEOUT, headers=headers, trust_env=False)


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ask_all(
    http: httpx.AsyncClient,
    opened: ChaosServices,
    stories: list[Story],
    rate: float,
    all_asked: asyncio.Event,
) -> None:
    """Asks at a rate, and slower while too many questions are open."""
    places = asyncio.Semaphore(OPEN_AT_ONCE)
    name, began = secrets.token_hex(4), time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number, story in enumerate(stories):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await places.acquire()
            client = clients.create_task(Client(http, opened.urls, story, name, opened.picture).run())
            client.add_done_callback(lambda _: places.release())
        all_asked.set()


async def _while_any_ends(asking: Collection[asyncio.Task[None]], history: History) -> None:
    """Until all have their answers, or none came for PATIENCE_S; questions without one are stuck."""
    before, waiting = history.open + 1, set(asking)
    while waiting and history.open < before:
        before = history.open
        _, waiting = await asyncio.wait(waiting, timeout=PATIENCE_S)
    for task in set(asking) - waiting:
        task.result()


async def _report(history: History, injector: FaultInjector, say: command.Say) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        say(f"{len(history.stories) - history.open} ended, {len(injector.landed)} faults")


def _pids(opened: ChaosServices) -> dict[str, int]:
    """Which process a worker's id named, as `benchmarks.chaos.worker` wrote it."""
    head = f"{REPORT}worker "
    lines = (line for worker in opened.of_kind("worker") for line in worker.lines() if line.startswith(head))
    pairs = (line.removeprefix(head).split() for line in lines)
    return {worker: int(pid) for worker, pid in pairs}


def _figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: times in seconds."""
    stories, rows = outcome.history.stories, outcome.recoveries.all
    soon, late = _parted(rows)
    runs = attempts_of_runs(stories)
    return outcome.verdict.counts | {
        **_spread("recovery", soon),
        "recoveries": len(soon),
        "recoveries_over_limit": _over_limit(rows),
        **_spread("recovery_after_restart", late),
        "recoveries_after_restart": len(late),
        "unexplained_attempts": outcome.recoveries.unexplained,
        "outcomes": dict(Counter(row.outcome or "none" for run in runs for row in run).most_common()),
        "faults": dict(Counter(fault.kind for fault in outcome.landed).most_common()),
        "faults_that_found_nobody": outcome.missed,
        "decoders_left": outcome.children_left,
        "retries": sum(story.retries for story in stories),
        "streams_resumed": sum(story.resumed for story in stories),
        "settings": services.QUEUE,
        "longest_ms": outcome.longest_ms,
        "findings": outcome.verdict.findings,
    }


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    none = [Bound(name, figures[name], 0, "jobs") for name in FLAWS]
    limits = (
        ("recovery_p99_s", LEASE_S + ALLOWANCE_S),
        ("recovery_after_restart_p99_s", 2 * LEASE_S + ALLOWANCE_S),
    )
    none.append(Bound("decoders_left", figures["decoders_left"], 0, "processes"))
    return none + [
        Bound(name, figures[name], limit, "s") for name, limit in limits if figures[name] is not None
    ]


def _over_limit(rows: Sequence[Recovery]) -> dict[str, int]:
    """How many of the recoveries without a recent restart took too long, by fault and lost workers."""
    slow = (x for x in rows if not x.after_restart and x.seconds > LEASE_S + ALLOWANCE_S)
    return dict(Counter(f"{x.kind}, {x.losses} lost" for x in slow).most_common())


def _parted(rows: Sequence[Recovery]) -> tuple[list[float], list[float]]:
    """Recovery times without and with a recent restart of the record store, each sorted."""
    soon = sorted(x.seconds for x in rows if not x.after_restart)
    return soon, sorted(x.seconds for x in rows if x.after_restart)


def _spread(name: str, seconds: Sequence[float]) -> dict[str, float | None]:
    shares = percentiles(seconds, "p50", "p99") if seconds else {"p50": None, "p99": None}
    return {f"{name}_{key}_s": value for key, value in shares.items()}


def _picture(outcome: Outcome) -> Figure:
    """When jobs were accepted and ended next to the faults, and how long recovery took."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    draw_jobs(left, outcome)
    labels = ("no restart of Redis lately", "after a restart of Redis")
    limits = (LEASE_S + ALLOWANCE_S, 2 * LEASE_S + ALLOWANCE_S)
    for seconds, label, limit in zip(_parted(outcome.recoveries.all), labels, limits, strict=True):
        line = report.shares(right, seconds, label, drawstyle="steps-post")
        right.axvline(limit, color=line.get_color(), linestyle="--", linewidth=1)
    report.label(right, "s from the fault to the next claim (dashed: limit of p99)", loc="lower right")
    return figure


def draw_jobs(panel: Any, outcome: Outcome) -> None:
    """When they were accepted and ended next to the faults of the record server."""
    stories = outcome.history.stories
    accepted = [story.accepted_at for story in stories if story.accepted_at]
    report.counts(panel, accepted, min(accepted), "accepted")
    report.counts(panel, [story.ended_at for story in stories if story.ended_at], min(accepted), "ended")
    for fault in outcome.landed:
        if fault.name == "redis":
            panel.axvspan(
                fault.at - min(accepted), fault.until - min(accepted), color=report.SERIES[3], alpha=0.3
            )
    report.label(panel, "s since the first job was accepted (red: Redis hit)", "jobs")


if __name__ == "__main__":
    seed = (SEED, "of the questions and the faults")
    faults = textwrap.fill(f"The faults: {', '.join(DECK)}.", 110)
    command.main("chaos", f"{__doc__}\n{faults}\n", measure, jobs=(JOBS, "questions asked"), seed=seed)
