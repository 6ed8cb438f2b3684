"""What each function of the record store costs beside an earlier commit: five minutes on an idle machine.

Both are measured in turn on servers of their own: microseconds of the server's thread, commands inside each
call, and the bytes and keys that a job holds. `--deep 1` also measures 1k, 10k and 100k queued by one caller
and by a thousand, which takes as long again.
"""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.command import Options, Say
from benchmarks.frame.report import Findings
from benchmarks.frame.services import ROOT
from benchmarks.frame.statistics import Bound

BEFORE = "8b6006a"
"""The last commit before the library: one Lua script for each transition."""
PROBE = Path(__file__).parent / "probe.py"
WHOLE = ("submit", "claim", "settle", "read, ended")
"""What a plain job takes from its submission to a reading of its answer."""


def measure(options: Options, say: Say) -> Findings:
    say("the checkout")
    ours = probe(ROOT, deep=bool(options.deep))
    say(f"commit {BEFORE}")
    with TemporaryDirectory(prefix="sightline-store-") as folder:
        unpack(Path(folder), BEFORE)
        before = probe(Path(folder), deep=bool(options.deep))
    figures = {"before_commit": BEFORE, "ours": ours, "before": before}
    return Findings(figures, picture(ours, before), bounds(ours, before), summary=table(ours, before))


def unpack(folder: Path, commit: str) -> None:
    argv = ["git", "archive", commit]
    archive = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def probe(root: Path, *, deep: bool) -> dict[str, Any]:
    argv = [sys.executable, str(PROBE), *(["deep"] if deep else [])]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(ours: dict[str, Any], before: dict[str, Any]) -> str:
    lines = [f"{'function':24}{'µs':>8}{'before':>8}{'commands':>10}{'before':>8}"]
    for name, (took, commands) in ours["cost"].items():
        took_before, commands_before = before["cost"][name]
        lines.append(f"{name:24}{took:8.0f}{took_before:8.0f}{commands:10.1f}{commands_before:8.1f}")
    for state in ("queued", "ended"):
        lines.append(f"bytes, {state:17}{ours[state]['bytes']:8.0f}{before[state]['bytes']:8.0f}")
    for callers, depths in ours["depth"].items():
        for depth, (took, commands) in depths.items():
            took_before, commands_before = before["depth"][callers][depth]
            name = f"{callers}, {depth}"
            lines.append(f"{name:24}{took:8.0f}{took_before:8.0f}{commands:10.1f}{commands_before:8.1f}")
    return "\n".join(lines)


def bounds(ours: dict[str, Any], before: dict[str, Any]) -> list[Bound]:
    """A job's cost and size as shares of what they were."""
    took, commands = (sum(ours["cost"][name][at] for name in WHOLE) for at in (0, 1))
    took_before, commands_before = (sum(before["cost"][name][at] for name in WHOLE) for at in (0, 1))
    return [
        Bound("a job: time beside before", took / took_before, 1.0, ""),
        Bound("a job: commands beside before", commands / commands_before, 0.75, ""),
        *(
            Bound(f"bytes, {state}, beside before", ours[state]["bytes"] / before[state]["bytes"], 0.5, "")
            for state in ("queued", "ended")
        ),
    ]


def picture(ours: dict[str, Any], before: dict[str, Any]) -> Figure:
    figure, (left, right) = report.figure(2)
    names = list(ours["cost"])
    names.remove("page of 100")
    for panel, at, unit in ((left, 0, "µs"), (right, 1, "commands")):
        places = range(len(names))
        for found, offset, label in ((before, 0.2, BEFORE), (ours, -0.2, "now")):
            values = [found["cost"][name][at] for name in names]
            panel.barh([place + offset for place in places], values, 0.4, label=label)
        panel.set_yticks(list(places), names)
        panel.set_xlabel(unit)
        panel.legend()
    return figure


if __name__ == "__main__":
    command.main("store", __doc__, measure, deep=(0, "1 = also with up to 100,000 queued"))
