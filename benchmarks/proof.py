"""`make proof`: write docs/proof.md, with figures and pictures in results/proof/, in at most twenty minutes.

Exits with 1 where a target was missed or a part did not end. Stopped in between, it writes what there is.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT
from docs.generate.measured import limits_of
from docs.generate.tables import rows_of

Figures = Mapping[str, Any]
LIMIT_S = 20 * 60
GRACE_S = 60
"""Seconds in which a part must end its processes after a signal to stop."""
SUMMARY = "proof.json"
PICTURES = "../benchmarks/results/proof"
HEAD = """\
# Is it proven?

Seven figures, taken on one machine by one command in at most twenty minutes:

```sh by-hand
make proof
```

The command writes this page. [How it is done](../benchmarks/README.md).
"""
CHAOS = """\
{jobs:,} jobs, polled, followed and streamed, while {count} faults hit three workers, two APIs, two couriers
and Redis. *Lost*: accepted and then unknown, failed or answered wrongly; *doubled*: two ends;
*stuck*: no end; *torn*: a stream with a gap or a repeat. *Recovery* is from a fault to the next claim of
the run that it interrupted. By design that is the lease ({lease_s:g} s) and up to four maintenance passes
({rescue_s:g} s each).
"""
CANCEL = """\
The shipped model on one row, with queued jobs. {samples} times the running job is cancelled; timed from
before the request is sent to the worker's next claim, and to the next job's first text.
"""
ETA = "{jobs:,} jobs of each load for two workers, simulated.\n"
CACHE = """\
{pairs:,} random pairs of requests. Half differ in exactly one of {fields} fields; the others are the same,
written differently. Only the same may, and must, be answered from the cache.
"""
FAIRNESS = """\
One simulated caller submits 5,000 jobs, and twenty others 20 each. Jain's index is 1 if all were served the
same while all wait. 99 of 100 jobs of the twenty began within {equal[fair][others_wait_s][p99]:g} s;
in order of arrival it would have been {equal[fifo][others_wait_s][p99]:g} s.
"""
WEBHOOKS = """\
{jobs:,} jobs, each with a webhook: {calls:,} deliveries to receivers that fail, hang, restart,
answer 410 or never answer, while couriers were killed {kills} times. {taken:,} were accepted,
{refused:,} refused permanently and {given_up:,} abandoned and logged; *lost* is none of these.
"""
FAILOVER = """\
A primary with two replicas and three Sentinels is lost or handed over {faults} times ({kinds}).
With `acknowledge=replica` none of {accepted:,} jobs may be lost; callers had their answers after {p50:g} s
(half) and {p99:g} s (99 of 100). `memory`, as shipped: {memory_lost} of {memory_accepted:,} lost.
"""


@dataclass(frozen=True)
class Part:
    """One figure. `argv` follows `python -m`, `quick` are the options that show in seconds that it works.

    `text` renders what was done from what was measured; the part writes `name`.json and .svg.
    """

    name: str
    title: str
    argv: tuple[str, ...]
    quick: tuple[str, ...]
    text: Callable[..., str]


def _chaos(**figures: Any) -> str:
    return CHAOS.format(count=sum(figures["faults"].values()), **figures["settings"], jobs=figures["jobs"])


def _cache(**figures: Any) -> str:
    return CACHE.format(pairs=figures["pairs"], fields=len(figures["asked"]) - 1)


def _failover(**figures: Any) -> str:
    safe, plain = figures["replica"], figures["memory"]
    return FAILOVER.format(
        faults=len(safe["faults"]),
        kinds=", ".join(sorted({fault["kind"] for fault in safe["faults"]})),
        accepted=safe["accepted"],
        memory_accepted=plain["accepted"],
        memory_lost=plain["lost"],
        **safe["answer_s"],
    )


PARTS = (
    Part(
        "chaos",
        "Nothing is lost, doubled or torn when processes crash",
        ("benchmarks.chaos", "--jobs", "3000"),
        ("--jobs", "150"),
        _chaos,
    ),
    Part(
        "cancel",
        "A cancelled job's row is free at once",
        ("benchmarks.overhead.cancel",),
        ("--samples", "10"),
        CANCEL.format,
    ),
    Part("eta", "Jobs start when estimated", ("benchmarks.eta",), ("--jobs", "1000"), ETA.format),
    Part(
        "cache",
        "The cache never confuses two questions, and never misses the same one",
        ("benchmarks.cache",),
        ("--pairs", "2000"),
        _cache,
    ),
    Part("fairness", "One caller's flood delays no one else", ("benchmarks.fairness",), (), FAIRNESS.format),
    Part(
        "webhooks",
        "Every webhook is delivered, or reported as abandoned",
        ("benchmarks.webhooks", "--jobs", "600"),
        ("--jobs", "60"),
        WEBHOOKS.format,
    ),
    Part(
        "failover",
        "Nothing that was accepted is lost with its Redis server",
        ("benchmarks.failover", "--seconds", "120"),
        ("--seconds", "20"),
        _failover,
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, only to show that it works: in build/")
    quick = parser.parse_args().quick
    folder = ROOT / "build/proof" if quick else report.FOLDER / "proof"
    file = folder / "proof.md" if quick else ROOT / "docs/proof.md"
    command.end_on_sigterm()
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        for suffix in ("json", "svg"):
            (folder / f"{part.name}.{suffix}").unlink(missing_ok=True)
    say, deadline = command.progress(), time.monotonic() + LIMIT_S
    ran: dict[str, Figures] = {part.name: {"took_s": 0.0, "exit": None} for part in PARTS}
    summary = report.origin() | {"parts": ran}
    try:
        for part in PARTS:
            say(f"{part.title}: python -m {' '.join(part.argv)}")
            ran[part.name] = run(part, folder, deadline - time.monotonic(), quick=quick)
            say(f"{part.name}: {ran[part.name]}")
    finally:
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        file.write_text(page(*read(folder)), encoding="utf-8")
        print(f"wrote {file.name}")
    return 0 if all(one["exit"] == 0 for one in ran.values()) else 1


def run(part: Part, folder: Path, limit_s: float, *, quick: bool) -> Figures:
    """Return the seconds and the exit code: 1 if a target was missed, None if time ran out."""
    argv = (sys.executable, "-m", *part.argv, *(part.quick if quick else ()), "--out", str(folder))
    began = time.monotonic()
    process = subprocess.Popen(argv, cwd=ROOT)  # noqa: S603
    try:
        code = process.wait(max(limit_s, 0))
    except subprocess.TimeoutExpired:
        code = None
    finally:
        _end(process)
    return {"took_s": round(time.monotonic() - began, 1), "exit": code}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read(folder: Path) -> tuple[Figures, dict[str, Figures]]:
    """Return the summary, and what each part wrote that ended in time."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    files = {part.name: folder / f"{part.name}.json" for part in PARTS}
    return summary, {n: json.loads(file.read_text("utf-8")) for n, file in files.items() if file.exists()}


def page(summary: Figures, parts: Mapping[str, Figures]) -> str:
    sections = [_section(number, part, summary, parts.get(part.name)) for number, part in enumerate(PARTS, 1)]
    return HEAD + _machine(summary) + "".join(sections)


def _machine(summary: Figures) -> str:
    machine, versions = summary["machine"], summary["versions"]
    rows: list[Sequence[str]] = [
        ("taken on", summary["date"].replace("T", " ")),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gb']:g} GB"),
        ("system", machine["system"]),
        ("load before", f"{machine['load'][0]:g}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("took", f"{sum(ran['took_s'] for ran in summary['parts'].values()) / 60:.0f} minutes"),
    ]
    return rows_of(("the machine", ""), rows)


def _section(number: int, part: Part, summary: Figures, figures: Figures | None) -> str:
    text = f"\n## {number}. {part.title}\n\n"
    if figures is None:
        code = summary["parts"][part.name]["exit"]
        return text + f"It did not finish: {'out of time' if code is None else f'exit code {code}'}.\n"
    text += f"{part.text(**figures)}{limits_of(figures['limits'])}"
    return text + f"\n![{part.title}]({PICTURES}/{part.name}.svg)\n"


if __name__ == "__main__":
    sys.exit(main())
