"""Whether a batch of the promised size loses a line: about ten minutes.

Someone asks short questions all the time: on the idle service, then while a batch is uploaded and computed
and each process is killed once. A second batch is cancelled at half.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from benchmarks.batches import prober
from benchmarks.batches.client import BatchClient, BatchRun
from benchmarks.batches.lines import MODEL, Lines
from benchmarks.batches.prober import Probe
from benchmarks.frame import command, report
from benchmarks.frame.jobs import lane_of
from benchmarks.frame.services import Installation, free_port, opened
from benchmarks.frame.statistics import Bound, summary
from shared.batch import MOST_LINES

IDLE_S = 20
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = 16\n'
KILLS = {"api": 0.4, "worker": 0.55, "courier": 0.7}
"""How much of the batch is done when each process is killed."""
SMALLER = 5
"""The batch that is cancelled has that many times fewer lines, and no pictures."""
CANCEL_AT = 0.5
WARM_S = 2.0
"""Questions asked in the first seconds do not count."""
REPORT_SHARE = 0.1
MEMORY_PAUSE_S = 0.25
MEMORY_LIMIT_MB = 400
P99_LIMIT = 10
"""Limit of the p99 wait, in times that of the idle service: during a batch both cores are full."""
WORK_KEYS = ("lease:batch", f"lease:{lane_of(MODEL)}", "deadlines", "later")
"""Sorted sets of what is in progress."""
BATCH_KEYS = ("known", "doubles", "good", "bad")
"""Keys of one batch that go at its end; the event of its end is kept like any other."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to; `probes` begin at `began`, on the idle service until `whole.began`.

    `kills` are moments of the monotonic clock by the process's name.
    """

    whole: BatchRun
    cut: BatchRun
    began: float
    probes: Sequence[Probe]
    kills: dict[str, float]
    memory: "Memory"
    leaks: dict[str, int]

    @property
    def first_kill(self) -> float:
        return min(self.kills.values(), default=self.whole.steps[-1].at)

    def spans(self) -> dict[str, tuple[float, float]]:
        """In which someone asked, by what else went on; the last one ends with the first kill."""
        sent, begun = self.whole.began + self.whole.upload_s, self.whole.since("in_progress")
        return {
            "idle": (self.began, self.whole.began),
            "upload": (self.whole.began, sent),
            "look": (sent, begun),
            "work": (begun, self.first_kill),
        }

    def waits(self, span: tuple[float, float]) -> list[float]:
        """Of those who asked in this span, in ms."""
        return [1000 * p.took_s for p in self.probes if span[0] <= p.began < span[1] and p.status == 200]


class Memory:
    """Resident memory in MB of a million bytes, by process, over all its restarts."""

    def __init__(self, services: Installation) -> None:
        self._services = services
        self.idle = self._now()
        self.most = dict(self.idle)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(MEMORY_PAUSE_S)
            for name, used in self._now().items():
                self.most[name] = max(used, self.most.get(name, 0.0))

    def _now(self) -> dict[str, float]:
        used = {}
        for name, pid in self._services.pids().items():
            with suppress(psutil.NoSuchProcess):
                used[name] = psutil.Process(pid).memory_info().rss / 1e6
        return used


@dataclass
class Killer:
    """Kills each process once, in the middle of the work; it is started again."""

    services: Installation
    count: int
    say: command.Say
    kills: dict[str, float] = field(default_factory=dict)
    _reported: float = 0.0

    async def look(self, batch: BatchRun) -> None:
        status, share = batch.steps[-1].status, batch.steps[-1].done / self.count
        if share >= self._reported:
            self.say(f"{status}, {share:.0%} done")
            self._reported = share + REPORT_SHARE
        due = [name for name, at in KILLS.items() if share >= at and name not in self.kills]
        if due and status == "in_progress":
            self.services[due[0]].send(signal.SIGKILL)
            self.kills[due[0]] = time.monotonic()
            self.say(f"{due[0]} killed")


class BatchServices(Installation):
    """One process of each kind, all settings as shipped, each started again when it ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, log_level="info")
        self.port = free_port()

    def start(self) -> None:
        self.add(self.records)
        self.api(self.port, restarts=True)
        self.worker(restarts=True)
        self.courier(restarts=True)
        self.wait_until(f"http://127.0.0.1:{self.port}/models/{MODEL}/health")


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(BatchServices) as services:
        outcome = command.run(_run(services, arguments.lines, arguments.idle, say))
    figures = _figures(outcome)
    return report.Findings(figures, _picture(outcome), _bounds(figures), summary=str(figures))


async def _run(services: BatchServices, count: int, idle_s: int, say: command.Say) -> Outcome:
    """A batch of `count` lines, and a smaller one that is cancelled."""
    lines, cut = Lines("whole", count, pictures=True), Lines("cut", count // SMALLER, pictures=False)
    paths = [services.folder / f"{one.name}.jsonl" for one in (lines, cut)]
    for one, path in zip((lines, cut), paths, strict=True):
        await asyncio.to_thread(one.write, path)
    say(f"everything serves; the file of {count} lines has {paths[0].stat().st_size / 1e6:.1f} MB")
    memory, client = Memory(services), BatchClient(services.port, services.folder)
    watching, killer = asyncio.create_task(memory.watch()), Killer(services, count, say)

    async def cancel_at_half(batch: BatchRun) -> None:
        step = batch.steps[-1]
        if step.status == "in_progress" and step.done >= CANCEL_AT * cut.count:
            await client.cancel(batch.batch)

    answers = services.folder / "probes"
    argv = ("-m", "benchmarks.batches.prober", str(services.port), str(answers))
    services.run("prober", sys.executable, *argv)
    await asyncio.sleep(WARM_S)
    began = time.monotonic()
    await asyncio.sleep(idle_s)
    whole = await client.run(lines, paths[0], killer.look)
    services.stop("prober")
    say(f"{whole.steps[-1].status}: {whole.counts}, {whole.verdict}")
    ended = await client.run(cut, paths[1], cancel_at_half)
    say(f"{ended.steps[-1].status}: {ended.counts}, {ended.verdict}")
    watching.cancel()
    await client.aclose()
    with services.records.client(decode_responses=True) as redis:
        return Outcome(
            whole=whole,
            cut=ended,
            began=began,
            probes=prober.read(answers),
            kills=killer.kills,
            memory=memory,
            leaks=_left_over(redis, [whole.batch, ended.batch]),
        )


def _left_over(redis: Any, batches: Sequence[str]) -> dict[str, int]:
    """What ended batches should not leave in the record store: entries by key, empty ones left out."""
    entries = {name: int(redis.zcard(f"sl8:{name}")) for name in WORK_KEYS}
    entries["batching:local"] = int(redis.scard("sl8:batching:local"))
    for part in BATCH_KEYS:
        entries[part] = int(redis.exists(*(f"sl8:{batch}:{part}" for batch in batches)))
    return {name: count for name, count in entries.items() if count}


def _figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: seconds, MB of a million bytes, and of what people waited ms."""
    whole, memory = outcome.whole, outcome.memory
    waits = {name: outcome.waits(span) for name, span in outcome.spans().items()}
    return {
        "lines": whole.lines.count,
        "file_mb": round(whole.input_bytes / 1e6, 1),
        "upload_s": round(whole.upload_s, 2),
        "looked_through_s": round(whole.spent_s("validating"), 1),
        "lines_per_s": round(_pace(outcome), 1),
        "work_s": round(whole.spent_s("in_progress"), 1),
        "put_together_s": round(whole.spent_s("finalizing"), 1),
        "output_mb": round(whole.output_bytes / 1e6, 1),
        "download_s": round(whole.download_s, 2),
        "whole": _verdict(whole),
        "cancelled": {"lines": outcome.cut.lines.count, **_verdict(outcome.cut)},
        "killed": list(outcome.kills),
        "asked_ms": {name: summary(some) if some else {} for name, some in waits.items()},
        "unanswered": sum(probe.status != 200 for probe in outcome.probes),
        "memory_mb": {
            name: {"idle": round(memory.idle[name], 1), "most": round(memory.most[name], 1)}
            for name in memory.idle
        },
        "survivors": outcome.leaks,
    }


def _verdict(batch: BatchRun) -> dict[str, Any]:
    return {"status": batch.steps[-1].status, "counts": batch.counts, "verdict": asdict(batch.verdict)}


def _pace(outcome: Outcome) -> float:
    """Lines a second until the first process was killed."""
    steps = [s for s in outcome.whole.steps if s.status == "in_progress" and s.at <= outcome.first_kill]
    return (steps[-1].done - steps[0].done) / (steps[-1].at - steps[0].at)


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    verdicts = {"": figures["whole"]["verdict"], ", cancelled": figures["cancelled"]["verdict"]}
    waits, memory = figures["asked_ms"], figures["memory_mb"]
    return [
        *(
            Bound(f"{name}{which}", n, 0, "lines")
            for which, row in verdicts.items()
            for name, n in row.items()
        ),
        Bound("processes killed in mid-work", len(figures["killed"]), len(KILLS), "", at_least=True),
        Bound("left over in the record store", sum(figures["survivors"].values()), 0, "entries"),
        *(
            Bound(f"memory of the {name}, at most", memory[name]["most"], MEMORY_LIMIT_MB, "MB")
            for name in ("api", "courier")
        ),
        Bound("asking beside it over idle, p99", waits["work"]["p99"] / waits["idle"]["p99"], P99_LIMIT, ""),
    ]


def _picture(outcome: Outcome) -> Figure:
    """How the batch went next to the kills, and what people waited."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    began = outcome.whole.began
    for batch, label in ((outcome.whole, "whole"), (outcome.cut, "cancelled at half")):
        left.plot([step.at - began for step in batch.steps], [step.done for step in batch.steps], label=label)
    for name, at in outcome.kills.items():
        left.axvline(at - began, color=report.SERIES[3], alpha=0.5, linewidth=0.8)
        left.annotate(f"{name} killed", (at - began, 0), rotation=90, fontsize=7, va="bottom")
    report.label(left, "s since the upload began", "lines done")
    for name, span in outcome.spans().items():
        if waits := outcome.waits(span):
            report.shares(right, waits, name)
    report.label(right, "from a question until its answer, ms", "share of the questions", log=True)
    return figure


if __name__ == "__main__":
    idle = (IDLE_S, "seconds of asking on the idle service")
    command.main("batches", __doc__, measure, lines=(MOST_LINES, "lines of the file"), idle=idle)
