"""Whether `sightline map` loses or doubles a row, and what it costs beside a plain loop: about ten minutes.

A map and a loop of 16 callers take turns over the same pictures, while somebody asks short questions; then
one map goes over all rows while its client, the API and the worker are each killed twice.
"""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
from matplotlib.figure import Figure

from benchmarks.batches import prober
from benchmarks.batches.__main__ import BatchServices
from benchmarks.batches.lines import MODEL
from benchmarks.batches.prober import Probe
from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT, Process, opened
from benchmarks.frame.statistics import Bound, percentiles, ratio
from benchmarks.overhead.services import noise

ROWS, TURN, ROUNDS, IDLE_S = 20_000, 1500, 5, 10
SIDE = 30
KILLS = (("client", 0.1), ("api", 0.2), ("worker", 0.3), ("client", 0.4), ("api", 0.5), ("worker", 0.6))
"""Which process is killed, and how much of the map is done by then."""
LEAST_RATIO = 0.95
LOOK_S = 0.05
LIMIT_S = 3600.0
QUESTION = "What is {file}?"
Span = tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Rows a second by turn; `kills` and spans are of the monotonic clock."""

    mapped: Sequence[float]
    looped: Sequence[float]
    probes: Sequence[Probe]
    spans: dict[str, list[Span]]
    kills: list[tuple[str, float]]
    steps: Sequence[tuple[float, int]]
    memory_mb: float
    receipt: dict[str, Any]
    verdict: dict[str, int]

    def waits(self, name: str) -> list[float]:
        """Of those who asked in these spans, in ms."""
        return [
            1000 * probe.took_s
            for probe in self.probes
            for begin, end in self.spans[name]
            if begin <= probe.began < end and probe.status == 200
        ]


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(BatchServices) as services:
        outcome = _run(services, arguments, say)
    figures = _figures(outcome)
    speed = ratio("rows a second", "16 callers in a loop", outcome.mapped, outcome.looped, LEAST_RATIO)
    return report.Findings(figures, _picture(outcome), _bounds(outcome), [speed], summary=str(figures))


def _run(services: BatchServices, arguments: command.Options, say: command.Say) -> Outcome:
    turn = _pictures(services.folder / "turn", arguments.turn)
    whole = _pictures(services.folder / "whole", arguments.rows)
    probes = services.folder / "probes"
    services.run("prober", sys.executable, "-m", "benchmarks.batches.prober", str(services.port), str(probes))
    spans: dict[str, list[Span]] = {"idle": [], "loop": [], "map": []}
    time.sleep(arguments.idle / 5)
    begun = time.monotonic()
    time.sleep(arguments.idle)
    spans["idle"].append((begun, time.monotonic()))
    speeds: dict[str, list[float]] = {"loop": [], "map": []}
    # The first round warms up.
    for number in range(ROUNDS + 1):
        for name, one in (("loop", _loop), ("map", _map)):
            begun = time.monotonic()
            seconds = one(services, turn, f"Round {number}, {name}: {QUESTION}")
            say(f"{name}: {arguments.turn / seconds:.0f} rows a second")
            if number:
                spans[name].append((begun, begun + seconds))
                speeds[name].append(arguments.turn / seconds)
    since = time.time()
    memory_mb, receipt, kills, steps = _killed(services, whole, arguments.rows, say)
    verdict = _verdict(services.folder / "whole.jsonl", whole)
    verdict["asked twice"] = _jobs(services, since) - arguments.rows
    services.stop("prober")
    return Outcome(
        speeds["map"], speeds["loop"], prober.read(probes), spans, kills, steps, memory_mb, receipt, verdict
    )


def _pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06}.png").write_bytes(noise(SIDE))
    return folder


def _loop(services: BatchServices, folder: Path, question: str) -> float:
    argv = ("-m", "benchmarks.map.loop", str(services.port), str(folder), question)
    done = subprocess.run((sys.executable, *argv), cwd=ROOT, capture_output=True, check=True)  # noqa: S603
    return float(done.stdout)


def _argv(services: BatchServices, folder: Path, output: Path, question: str) -> list[str]:
    place = ["--input", str(folder), "--output", str(output), "--model", MODEL, "--json"]
    url = f"http://127.0.0.1:{services.port}"
    return [sys.executable, "-m", "sightline", "map", question, *place, "--url", url]


def _map(services: BatchServices, folder: Path, question: str) -> float:
    """From the first row's end to the last one's: a process's start and end are no matter of rows."""
    output = services.folder / f"{time.monotonic_ns()}.jsonl"
    with subprocess.Popen(  # noqa: S603
        _argv(services, folder, output, question), cwd=ROOT, stdout=subprocess.DEVNULL
    ) as client:
        journal = _journal(output)
        while not _done(journal):
            time.sleep(LOOK_S / 5)
        begun = time.time()
        client.wait(LIMIT_S)
    return journal.stat().st_mtime - begun


def _journal(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


def _done(journal: Path) -> int:
    """Rows in the journal, without its heading."""
    return max(journal.read_bytes().count(b"\n") - 1, 0) if journal.exists() else 0


def _killed(
    services: BatchServices, folder: Path, count: int, say: command.Say
) -> tuple[float, dict[str, Any], list[tuple[str, float]], list[tuple[float, int]]]:
    """The client's largest memory, the receipt, when what was killed, and how many rows were done by then."""
    output = services.folder / "whole.jsonl"
    kills, steps = list[tuple[str, float]](), list[tuple[float, int]]()
    client = services.run("map", *_argv(services, folder, output, QUESTION), restarts=True)
    begun, memory_mb = time.monotonic(), 0.0
    while not (receipt := output.with_name(f"{output.name}.receipt.json")).exists():
        if time.monotonic() - begun > LIMIT_S:
            raise TimeoutError("the map did not end")
        steps.append((time.monotonic() - begun, _done(_journal(output))))
        for name in [name for name, at in KILLS[len(kills) :] if steps[-1][1] >= at * count]:
            _kill(client if name == "client" else services[name])
            kills.append((name, time.monotonic() - begun))
            say(f"{name} killed at {steps[-1][1]} rows")
        with suppress(psutil.NoSuchProcess):
            memory_mb = max(memory_mb, psutil.Process(client.pid).memory_info().rss / 1e6)
        time.sleep(10 * LOOK_S)
    services.stop("map")
    return memory_mb, json.loads(receipt.read_bytes()), kills, steps


def _kill(process: Process) -> None:
    process.send(signal.SIGKILL)


def _jobs(services: BatchServices, since: float) -> int:
    """Jobs of the class batch that were made since then."""
    count, after = 0, None
    with httpx.Client(base_url=f"http://127.0.0.1:{services.port}", timeout=60) as client:
        while True:
            query: dict[str, str | float] = {
                "priority": "batch",
                "created_after": since,
                "limit": 100,
                "results": "false",
            }
            page = client.get("/v1/jobs", params=query | ({"after": after} if after else {})).json()
            count, after = count + len(page["data"]), page["next"]
            if after is None:
                return count


def _verdict(output: Path, folder: Path) -> dict[str, int]:
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    counts = Counter(row["file"] for row in rows)
    names = [path.name for path in sorted(folder.iterdir())]
    return {
        "lost": sum(name not in counts for name in names),
        "doubled": sum(count - 1 for count in counts.values()),
        "failed": sum(row["error"] is not None for row in rows),
        "wrong": sum(row["answer"] != f"What is {row['file']}? [{SIDE}x{SIDE}]" for row in rows),
        "out of order": int([row["file"] for row in rows] != names),
    }


def _figures(outcome: Outcome) -> dict[str, Any]:
    """Rows a second, and of what an interactive caller waited ms."""
    waits = {name: percentiles(outcome.waits(name), "p50", "p95", "p99", digits=1) for name in outcome.spans}
    return {
        "rows": outcome.receipt["rows"],
        "receipt": outcome.receipt,
        "verdict": outcome.verdict,
        "rows_per_s": {
            "map": round(median(outcome.mapped), 1),
            "loop": round(median(outcome.looped), 1),
            "map with kills": round(outcome.receipt["rows"] / outcome.steps[-1][0], 1),
        },
        "asked_ms": waits,
        "client_mb": round(outcome.memory_mb, 1),
        "killed_s": [(name, round(at, 1)) for name, at in outcome.kills],
    }


def _bounds(outcome: Outcome) -> list[Bound]:
    receipt = outcome.receipt
    waits = {name: percentiles(outcome.waits(name), "p95")["p95"] for name in outcome.spans}
    return [
        *(Bound(name, count, 0, "rows") for name, count in outcome.verdict.items()),
        Bound(
            "rows the receipt does not count",
            receipt["rows"] - receipt["answered"] - receipt["failed"],
            0,
            "rows",
        ),
        Bound("killed in mid-work", len(outcome.kills), len(KILLS), "", at_least=True),
        Bound("asking beside a map over alone, p95", waits["map"] / waits["idle"], 10, ""),
    ]


def _picture(outcome: Outcome) -> Figure:
    """How the map went next to the kills, and what people waited."""
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    left.plot([at for at, _ in outcome.steps], [done for _, done in outcome.steps], label="map")
    for name, at in outcome.kills:
        left.axvline(at, color=report.SERIES[3], alpha=0.5, linewidth=0.8)
        left.annotate(f"{name} killed", (at, 0), rotation=90, fontsize=7, va="bottom")
    report.label(left, "s since the start", "rows done")
    for name in outcome.spans:
        report.shares(right, outcome.waits(name), name)
    report.label(right, "from a question until its answer, ms", "share of the questions", log=True)
    return figure


if __name__ == "__main__":
    command.main(
        "map",
        __doc__,
        measure,
        rows=(ROWS, "rows of the map with kills"),
        turn=(TURN, "rows of each turn of map and loop"),
        idle=(IDLE_S, "seconds of asking on the idle service"),
    )
