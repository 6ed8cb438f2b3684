"""docs/proof.md, from what the parts wrote: which benchmarks show what, at which size, and in which words."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.generate.measured import limits_of
from docs.generate.tables import rows_of

Figures = Mapping[str, Any]
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
ETA = """\
{jobs:,} jobs of each load for two workers, simulated.
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
    text: Callable[[Figures], str]


def _chaos(figures: Figures) -> str:
    count, settings = sum(figures["faults"].values()), figures["settings"]
    return CHAOS.format(jobs=figures["jobs"], count=count, **settings)


def _fairness(figures: Figures) -> str:
    return FAIRNESS.format(**{order: row["others_wait_s"]["p99"] for order, row in figures["equal"].items()})


def _failover(figures: Figures) -> str:
    safe, plain = figures["replica"], figures.get("memory", {"accepted": 0, "lost": 0})
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
        lambda figures: CANCEL.format(**figures),
    ),
    Part(
        "eta",
        "Jobs start when estimated",
        ("benchmarks.eta",),
        ("--jobs", "1000"),
        lambda figures: ETA.format(**figures),
    ),
    Part(
        "cache",
        "The cache never confuses two questions, and never misses the same one",
        ("benchmarks.cache",),
        ("--pairs", "2000"),
        lambda figures: CACHE.format(pairs=figures["pairs"], fields=len(figures["asked"]) - 1),
    ),
    Part(
        "fairness",
        "One caller's flood delays no one else",
        ("benchmarks.fairness",),
        (),
        _fairness,
    ),
    Part(
        "webhooks",
        "Every webhook is delivered, or reported as abandoned",
        ("benchmarks.webhooks", "--jobs", "600"),
        ("--jobs", "60"),
        lambda figures: WEBHOOKS.format(**figures),
    ),
    Part(
        "failover",
        "Nothing that was accepted is lost with its Redis server",
        ("benchmarks.failover", "--seconds", "120"),
        ("--quick", "1"),
        _failover,
    ),
)


def read(folder: Path) -> tuple[Figures, dict[str, Figures]]:
    """The summary, and what each part wrote that ended in time."""
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
        ("size", "quick: only to show that it works" if summary["quick"] else "as `make proof` has it"),
        ("took", f"{sum(ran['took_s'] for ran in summary['parts'].values()) / 60:.0f} minutes"),
    ]
    return rows_of(("the machine", ""), rows)


def _section(number: int, part: Part, summary: Figures, figures: Figures | None) -> str:
    text = f"\n## {number}. {part.title}\n\n"
    if figures is None:
        return text + f"It did not finish: {_why(summary['parts'][part.name])}.\n"
    text += f"{part.text(figures)}{limits_of(figures['limits'])}"
    return text + f"\n![{part.title}]({PICTURES}/{part.name}.svg)\n"


def _why(ran: Mapping[str, Any]) -> str:
    return "out of time, or stopped" if ran["exit"] is None else f"exit code {ran['exit']}"
