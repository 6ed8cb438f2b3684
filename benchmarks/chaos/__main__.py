"""What is lost when things die: ten minutes, longer where the machine has other work.

Questions are asked at a rate while a fault strikes every second: processes are killed, paused, hung, cut off
from the record server, and that is killed, paused and filled. Then every answer is held against the only
right one.
"""

import argparse
import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx
from matplotlib.figure import Figure

from benchmarks.chaos import services
from benchmarks.chaos.clients import Client, read_all
from benchmarks.chaos.faults import (
    PERIOD_S,
    REPORT,
    SUPERVISOR_S,
    Landed,
    Recoveries,
    Recovery,
    Saboteur,
    attempts_of_runs,
    plan,
    recoveries,
)
from benchmarks.chaos.history import History, Story, Verdict, judge, questions
from benchmarks.chaos.services import ChaosServices
from benchmarks.frame import command, report
from benchmarks.frame.command import Say
from benchmarks.frame.report import Findings
from benchmarks.frame.services import RESTART_PAUSE_S
from benchmarks.frame.statistics import Bound, percentile

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


@dataclass(frozen=True)
class Outcome:
    """What one run came to. `refused` counts late writes that the store refused, by script."""

    history: History
    verdict: Verdict
    landed: Sequence[Landed]
    missed: int
    recoveries: Recoveries
    refused: Counter[str]
    exits: Counter[str]
    fire_s: float
    wall_s: float


def measure(arguments: argparse.Namespace, say: Say) -> Findings:
    outcome = run(arguments.jobs, arguments.rate, arguments.seed, say)
    figures = _figures(outcome) | _conditions(arguments)
    shown = {name: figures[name] for name in ("faults", "outcomes", "late_writes_refused")}
    return Findings(figures, _picture(outcome), _bounds(figures), summary=str(shown))


def run(jobs: int, rate: float, seed: int, say: Say) -> Outcome:
    """Ask `jobs` questions, `rate` a second, while faults strike."""
    with services.opened() as opened:
        say(f"everything serves: {jobs} jobs at {rate:g} a second, seed {seed}")
        return command.run(_run(opened, jobs, rate, seed, say))


async def _run(opened: ChaosServices, jobs: int, rate: float, seed: int, say: Say) -> Outcome:
    # Between faults no connection is kept, whose other end may have been killed.
    async with _http(0) as http, _http(IDLE_CONNECTIONS) as quiet:
        began = time.monotonic()
        history = History([Story(question) for question in questions(seed, jobs)])
        saboteur, all_asked = Saboteur(opened), asyncio.Event()
        questioning = _ask_all(http, opened, history, rate, all_asked)
        async with _background(questioning) as asking, _background(_report(history, saboteur, say)):
            await saboteur.run(plan(seed, jobs, LEASE_S), all_asked)
            fire_s = time.monotonic() - began
            say(f"the last fault has passed; {history.open} questions have no answer yet")
            await _while_any_ends(asking, history)
        say("the last reading")
        await read_all(quiet, opened.urls, history)
    pids = {worker: int(pid) for worker, pid in _reports(opened, "worker")}
    return Outcome(
        history=history,
        verdict=judge(history),
        landed=tuple(saboteur.landed),
        missed=saboteur.missed,
        recoveries=recoveries(history.stories, saboteur.landed, pids, LEASE_S),
        refused=Counter(script for script, _ in _reports(opened, "refused")),
        exits=_exits(opened),
        fire_s=fire_s,
        wall_s=time.monotonic() - began,
    )


def _http(idle: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
    return httpx.AsyncClient(limits=limits, timeout=TIMEOUT, trust_env=False)


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
    http: httpx.AsyncClient, opened: ChaosServices, history: History, rate: float, all_asked: asyncio.Event
) -> None:
    """Asks at a rate, and slower while too many questions are open."""
    places = asyncio.Semaphore(OPEN_AT_ONCE)
    name, began = secrets.token_hex(4), time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number, story in enumerate(history.stories):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await places.acquire()
            client = clients.create_task(Client(http, opened.urls, story, name, opened.picture).run())
            client.add_done_callback(lambda _: places.release())
        all_asked.set()


async def _while_any_ends(asking: asyncio.Task[None], history: History) -> None:
    """Until all have their answers, or none came for PATIENCE_S; questions without one are stuck."""
    before = history.open + 1
    while not asking.done() and history.open < before:
        before = history.open
        await asyncio.wait({asking}, timeout=PATIENCE_S)
    if asking.done():
        asking.result()


async def _report(history: History, saboteur: Saboteur, say: Say) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        say(f"{len(history.stories) - history.open} ended, {len(saboteur.landed)} faults")


def _reports(opened: ChaosServices, kind: str) -> list[list[str]]:
    """What the workers wrote for the benchmark (`benchmarks.chaos.worker`)."""
    head = f"{REPORT}{kind} "
    lines = (line for worker in opened.of_kind("worker") for line in worker.lines())
    return [line.removeprefix(head).split() for line in lines if line.startswith(head)]


def _exits(opened: ChaosServices) -> Counter[str]:
    """How processes ended: a signal's number with a minus, or an exit code (70: the engine hung)."""
    return Counter(
        f"{kind} {code}"
        for kind in ("api", "worker", "courier")
        for process in opened.of_kind(kind)
        for code in process.exits
    )


def _figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: times in seconds."""
    stories, rows = outcome.history.stories, outcome.recoveries.all
    soon, late = _parted(rows)
    queued = sorted(x.in_line_s for x in rows if x.in_line_s is not None and not x.after_restart)
    runs = attempts_of_runs(stories)
    attempts = [attempt for run in runs for attempt in run]
    return outcome.verdict.counts | {
        **_spread("recovery", soon),
        "recoveries": len(soon),
        **_spread("recovery_after_restart", late),
        "recoveries_after_restart": len(late),
        **_spread("back_in_line", queued),
        "recovery_by_fault": _by_fault(rows),
        "unexplained_attempts": outcome.recoveries.unexplained,
        "late_writes_refused": {script: outcome.refused[script] for script in ("settle", "append")},
        "runs": len(runs),
        "attempts_per_run": round(len(attempts) / len(runs), 4) if runs else None,
        "outcomes": dict(Counter(attempt.outcome or "none" for attempt in attempts).most_common()),
        "faults": dict(Counter(fault.kind for fault in outcome.landed).most_common()),
        "faults_that_found_nobody": outcome.missed,
        "exits": dict(outcome.exits.most_common()),
        "clients": _clients(stories),
        "fire_s": round(outcome.fire_s, 1),
        "wall_s": round(outcome.wall_s, 1),
        "findings": outcome.verdict.findings,
    }


def _conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "seed": arguments.seed,
        "jobs_per_s_at_most": arguments.rate,
        "open_at_once_at_most": OPEN_AT_ONCE,
        "fault_every_s": PERIOD_S,
        "workers": services.WORKERS,
        "apis": services.APIS,
        "couriers": services.COURIERS,
        "rows_per_worker": services.ROWS,
        "step_s": services.STEP_S,
        "settings": services.QUEUE,
        "restart_pause_s": RESTART_PAUSE_S,
        "redis_restart_pause_s": SUPERVISOR_S,
        "appendfsync": "everysec",
    }


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    none = [Bound(name, figures[name], 0, "jobs") for name in ("lost", "doubled", "stuck", "torn")]
    limits = (
        ("recovery_p99_s", LEASE_S + ALLOWANCE_S),
        ("recovery_after_restart_p99_s", 2 * LEASE_S + ALLOWANCE_S),
    )
    return none + [
        Bound(name, figures[name], limit, "s") for name, limit in limits if figures[name] is not None
    ]


def _parted(rows: Sequence[Recovery]) -> tuple[list[float], list[float]]:
    """Recovery times without and with a recent restart of the record store, each sorted."""
    soon = sorted(x.seconds for x in rows if not x.after_restart)
    return soon, sorted(x.seconds for x in rows if x.after_restart)


def _spread(name: str, ordered: Sequence[float]) -> dict[str, float | None]:
    shares = (("p50", 0.5), ("p99", 0.99))
    return {f"{name}_{key}_s": percentile(ordered, share) if ordered else None for key, share in shares}


def _by_fault(rows: Sequence[Recovery]) -> dict[str, Any]:
    kinds: dict[str, list[float]] = {}
    for recovery in sorted(rows, key=lambda x: x.kind):
        kinds.setdefault(recovery.kind, []).append(recovery.seconds)
    return {
        kind: {"count": len(values), "p50": round(median(values), 3), "longest": max(values)}
        for kind, values in kinds.items()
    }


def _clients(stories: Sequence[Story]) -> dict[str, Any]:
    waits = sorted(x.ended_at - x.accepted_at for x in stories if x.ended_at and x.accepted_at) or [0.0]
    return {
        "retries": sum(story.retries for story in stories),
        "streams_resumed": sum(story.resumed for story in stories),
        "ways": dict(Counter(story.question.way for story in stories).most_common()),
        "cache": dict(Counter(story.cache or "none" for story in stories).most_common()),
        "accepted_to_end_p50_s": round(percentile(waits, 0.5), 3),
        "accepted_to_end_p99_s": round(percentile(waits, 0.99), 3),
    }


def _picture(outcome: Outcome) -> Figure:
    """When jobs were accepted and ended next to the faults, and how long recovery took."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    stories = outcome.history.stories
    accepted = [story.accepted_at for story in stories if story.accepted_at]
    report.counts(left, accepted, min(accepted), "accepted")
    report.counts(left, [story.ended_at for story in stories if story.ended_at], min(accepted), "ended")
    for fault in outcome.landed:
        if fault.name == "redis":
            left.axvspan(fault.at - min(accepted), fault.until - min(accepted), color="tab:red", alpha=0.3)
    report.label(left, "s since the first job was accepted (red: record store hit)", "jobs")
    labels = ("no restart of the record store lately", "after a restart of the record store")
    limits = (LEASE_S + ALLOWANCE_S, 2 * LEASE_S + ALLOWANCE_S)
    for seconds, label, limit in zip(_parted(outcome.recoveries.all), labels, limits, strict=True):
        line = report.shares(right, seconds, label, drawstyle="steps-post")
        right.axvline(limit, color=line.get_color(), linestyle="--", linewidth=1)
    report.label(right, "s from the fault to the next claim (dashed: limit of p99)", loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(
        command.main(
            "chaos",
            __doc__,
            measure,
            jobs=(JOBS, "questions asked"),
            rate=(RATE, "of them in a second at most"),
            seed=(SEED, "of the questions and the faults"),
        )
    )
