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
# Proof

Six figures, taken on one machine by one command, in twenty minutes at most. Take them on yours:

```sh by-hand
make proof
```

The command writes this page and nothing else does. [benchmarks](../benchmarks/README.md) says how each is
taken; at full size they stand on [their page](benchmarks.md).
"""
CHAOS = """\
{jobs:,} jobs, polled, followed and streamed by their callers, while {count} faults struck three workers,
two APIs, two couriers and the record server: {struck}.
*Lost* was accepted and then unknown, failed or answered wrongly; *doubled* has two ends; *stuck* never
ended; *torn* is a stream with a gap or a repeat.

*Recovery* is from a fault to the next claim of the run that it interrupted. By design that is the lease
({lease_s:g} s), three passes of maintenance where the leading courier died as well and one for a nudge that a
dead worker took along ({rescue_s:g} s each). A run on which two workers died waits up to 2 s more for one to
make itself empty, and for others like it, as each has a worker to itself. The rest is the wait for a worker
that is up.
"""
CANCEL = """\
The shipped model on one row, with a line behind it. {samples} times the job that is being answered is
cancelled. Counted from before the request is sent: until the worker takes the next claim, and until the
next job's first text is there, its prompt read and its first step done.
"""
ETA = """\
{jobs:,} jobs of each load come to two workers. Each is told when it will begin: half of them by then
(p50), nine in ten by then (p90). Here is how many did.
"""
CACHE = """\
{pairs:,} pairs of requests at random. One in two differs in exactly one of {fields} fields, by as little as
a blank or one digit of a picture's digest; the others are the same, spelled otherwise. The first of each
is computed, then the second is asked: only the same may be answered from the cache, and must be.
"""
FAIRNESS = """\
One caller floods the line with 5,000 jobs, and twenty others bring 20 each. Jain's index of what each was
served while all wait is 1 where all got the same. 99 of 100 jobs of the twenty began within {fair:g} s;
in the order of arrival it would have been {fifo:g} s.
"""
WEBHOOKS = """\
{jobs:,} jobs, each with a webhook of its own, and an endpoint that is told of all: {calls:,} calls to make,
to receivers that fail, hang, restart, want no more or never answer, while couriers were killed {kills}
times. {taken:,} were taken, {refused:,} refused for good and {given_up:,} given up and logged; *lost* is
what is none of these.
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
    faults = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in figures["faults"].items())
    count, settings = sum(figures["faults"].values()), figures["settings"]
    return CHAOS.format(jobs=figures["jobs"], count=count, struck=faults, **settings)


def _fairness(figures: Figures) -> str:
    return FAIRNESS.format(**{order: row["others_wait_s"]["p99"] for order, row in figures["equal"].items()})


PARTS = (
    Part(
        "chaos",
        "Nothing is lost, doubled or torn when processes die",
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
        "Jobs begin when their callers were told",
        ("benchmarks.eta", "--jobs", "2000", "--live", "100"),
        ("--jobs", "300", "--live", "0"),
        lambda figures: ETA.format(**figures),
    ),
    Part(
        "cache",
        "The cache never answers another question, and never misses the same",
        ("benchmarks.cache",),
        ("--pairs", "2000"),
        lambda figures: CACHE.format(pairs=figures["pairs"], fields=len(figures["asked"]) - 1),
    ),
    Part(
        "fairness",
        "One caller's flood holds up nobody else",
        ("benchmarks.fairness",),
        (),
        _fairness,
    ),
    Part(
        "webhooks",
        "Every webhook is called, or said to be given up",
        ("benchmarks.webhooks", "--jobs", "600"),
        ("--jobs", "60"),
        lambda figures: WEBHOOKS.format(**figures),
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
        return text + f"It did not end: {_why(summary['parts'][part.name])}.\n"
    text += f"{part.text(figures)}{limits_of(figures['limits'])}"
    return text + f"\n![{part.title}]({PICTURES}/{part.name}.svg)\n"


def _why(ran: Mapping[str, Any]) -> str:
    return "the time was over, or all was stopped" if ran["exit"] is None else f"exit code {ran['exit']}"
