"""Whether the device waits for pictures to be prepared, beside an earlier commit: ten minutes.

A worker's real claims, attempts, decoders and prompts feed an engine whose device is a clock: three families,
two sizes of pages, two cores and one. Both commits are measured by turns, each in processes of its own.
`--quick 1` measures large pages on two cores only.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.command import Options, Say
from benchmarks.frame.report import Findings
from benchmarks.frame.services import ROOT
from benchmarks.frame.statistics import Bound, Ratio, ratio
from benchmarks.preparing import families
from benchmarks.preparing.clock_engine import Device
from benchmarks.preparing.probe import Part
from benchmarks.store.__main__ import unpack
from sightline.serving.heap import heap

BEFORE = "b371e4f6"
"""The last commit whose workers prepared in threads and claimed as long as rows were free."""
HERE = Path(__file__).parent
LARGE, SMALL = (1275, 1650), (640, 480)
FAST = Device(step_ms=4, rate=60_000, host_ms=2)
"""A model of a billion parameters on a card of today."""
H100 = Device(step_ms=8, rate=20_000, host_ms=4)
"""One of four billion."""
AT_LEAST = {"qwen": 2.0, "llava": 2.5, "smolvlm": 3.5}
"""Requests a second with large pages on two cores, beside the commit before."""
MOST_WAITING, MOST_FIRST = 0.05, 0.55
UNLIKE = {"allows", "processor"}
"""Figures that are not compared."""
SPARE = 0.9
"""Where preparing and the engine's host need less than this of the cores, the device need not wait."""


@dataclass(frozen=True)
class Result:
    """Of one part: figures of each round, of both commits. `allows`: requests a second of the device."""

    part: Part
    ours: list[dict[str, Any]]
    before: list[dict[str, Any]]

    @property
    def name(self) -> str:
        (width, height), part = self.part.size, self.part
        device = "" if part.device == FAST else " slower device"
        return f"{part.family} {width}x{height} {part.cores} cores{device}"

    def each(self, figure: str) -> tuple[list[float], list[float]]:
        return [one[figure] for one in self.ours], [one[figure] for one in self.before]


def measure(options: Options, say: Say) -> Findings:
    results = []
    with TemporaryDirectory(prefix="sightline-preparing-") as folder:
        before, models = Path(folder, "before"), Path(folder, "models")
        before.mkdir()
        unpack(before, BEFORE)
        shutil.copytree(HERE, before / "benchmarks" / HERE.name)
        for some in parts(quick=bool(options.quick)):
            source = models / some[0].family
            if not source.exists():
                families.save(some[0].family, source)
            group = [Result(part, [], []) for part in some]
            for _ in range(options.rounds):
                for result, theirs, ours in zip(
                    group, probe(before, source, some), probe(ROOT, source, some), strict=True
                ):
                    result.before.append(theirs)
                    result.ours.append(ours)
            results += group
            for result in group:
                say(row(result))
    figures = {"before_commit": BEFORE, "parts": [asdict(result) for result in results]}
    return Findings(figures, picture(results), bounds(results), ratios(results))


def parts(*, quick: bool) -> list[list[Part]]:
    """What is measured, by the process in which it is."""
    return [
        [
            *(Part(family, size, cores, FAST) for size in ((LARGE,) if quick else (LARGE, SMALL))),
            *([Part(family, LARGE, cores, H100)] if family == "qwen" and not quick else []),
        ]
        for family in AT_LEAST
        for cores in ((2,) if quick else (2, 1))
    ]


def probe(root: Path, source: Path, some: Sequence[Part]) -> list[dict[str, Any]]:
    """The figures of each part, with the code below `root` and the model in `source`, on a worker's heap."""
    argv = [sys.executable, "-W", "ignore", str(root / "benchmarks" / HERE.name / "probe.py"), str(source)]
    done = subprocess.run(  # noqa: S603
        [*argv, json.dumps([asdict(part) for part in some])],
        cwd=root,
        env=os.environ | heap(os.environ),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def row(result: Result) -> str:
    ours, before = result.ours[-1], result.before[-1]
    figures = (f"{name} {ours[name]:.3g} ({before[name]:.3g})" for name in ours if name not in UNLIKE)
    return f"{result.name:28} {', '.join(figures)}"


def ratios(results: Sequence[Result]) -> list[Ratio]:
    aimed = [result for result in results if (result.part.cores, result.part.device) == (2, FAST)]
    return [
        ratio(f"requests_s {result.name}", BEFORE, *result.each("per_s"), AT_LEAST[result.part.family])
        for result in aimed
        if result.part.size == LARGE
    ]


def bounds(results: Sequence[Result]) -> list[Bound]:
    limits = []
    for result in results:
        ours, before = result.ours[-1], result.before[-1]
        # What preparing in time would take of the cores.
        if ours["allows"] * ours["cpu_s"] < SPARE * result.part.cores:
            limits.append(Bound(f"{result.name}: waits", ours["waits"], MOST_WAITING, ""))
        first = ours["urgent_p50"] / before["urgent_p50"]
        limits.append(Bound(f"{result.name}: first text", first, MOST_FIRST, ""))
    return limits


def picture(results: Sequence[Result]) -> Figure:
    figure, panels = report.figure(3, size=(14, 0.6 * len(results) + 2))
    places = range(len(results))
    units = {
        "per_s": "requests/s",
        "waits": "share of time in which the device waits",
        "urgent_p50": "an interactive caller's first text, s (p50)",
    }
    for panel, (name, unit) in zip(panels, units.items(), strict=True):
        for at, offset, label in ((1, 0.2, BEFORE), (0, -0.2, "now")):
            values = [result.each(name)[at][-1] for result in results]
            panel.barh([place + offset for place in places], values, 0.4, label=label)
        panel.set_yticks(list(places), [result.name for result in results])
        report.label(panel, unit)
    return figure


if __name__ == "__main__":
    command.main(
        "preparing",
        __doc__,
        measure,
        rounds=(1, "times that both are measured by turns"),
        quick=(0, "1 = large pages on two cores only"),
    )
