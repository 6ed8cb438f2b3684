"""What does each function of the record store cost, beside another commit? About three minutes.

Both are measured in turn on servers of their own: microseconds of the server's thread, commands inside each
call, and the bytes and keys that a job holds. The other commit is measured by its own copy of the probe.
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
from benchmarks.frame.services import ROOT
from benchmarks.frame.statistics import Bound

PROBE = Path("benchmarks/store/probe.py")
WHOLE = ("submit", "claim", "settle", "read, ended")
"""What a plain job takes from its submission to a reading of its answer."""
MOST = 1.1
"""A job's cost and size over those before: more is to be explained or mended."""
Costs = dict[str, Any]


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with TemporaryDirectory(prefix="sightline-store-") as folder:
        unpack(Path(folder), arguments.before)
        say(f"commit {arguments.before}")
        before = probe(Path(folder))
    say("the checkout")
    ours = probe(ROOT)
    figures = {"before_commit": arguments.before, "ours": ours, "before": before}
    picture = draw(ours, before, arguments.before)
    return report.Findings(figures, picture, bounds(ours, before), summary=table(ours, before))


def unpack(folder: Path, commit: str) -> None:
    argv = ["git", "archive", commit]
    archive = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def probe(root: Path) -> Costs:
    argv = [sys.executable, str(root / PROBE)]
    done = subprocess.run(argv, cwd=root, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: Costs = json.loads(done.stdout)
    return found


def table(ours: Costs, before: Costs) -> str:
    lines = [f"{'function':24}{'µs':>8}{'before':>8}{'commands':>10}{'before':>8}"]
    for name, (took, commands) in ours["cost"].items():
        took_before, commands_before = before["cost"].get(name, (0, 0))
        lines.append(f"{name:24}{took:8.0f}{took_before:8.0f}{commands:10.1f}{commands_before:8.1f}")
    for state in ("queued", "ended"):
        lines.append(f"bytes, {state:17}{ours[state]['bytes']:8.0f}{before[state]['bytes']:8.0f}")
    return "\n".join(lines)


def bounds(ours: Costs, before: Costs) -> list[Bound]:
    """A job's cost and size as shares of what they were."""
    rows = []
    for at, what in ((0, "time"), (1, "commands")):
        now, then = (sum(side["cost"][name][at] for name in WHOLE) for side in (ours, before))
        rows.append(Bound(f"a job: {what} beside before", now / then, MOST, ""))
    for state in ("queued", "ended"):
        share = ours[state]["bytes"] / before[state]["bytes"]
        rows.append(Bound(f"bytes, {state}, beside before", share, MOST, ""))
    return rows


def draw(ours: Costs, before: Costs, commit: str) -> Figure:
    figure, panels = report.figure(2)
    names = [name for name in ours["cost"] if name in before["cost"] and "page" not in name]
    for panel, at, unit in zip(panels, (0, 1), ("µs", "commands"), strict=True):
        sides = {commit: before["cost"], "now": ours["cost"]}
        report.bars(
            panel, names, {label: [cost[name][at] for name in names] for label, cost in sides.items()}
        )
        report.label(panel, unit)
    return figure


if __name__ == "__main__":
    command.main("store", __doc__, measure, before=("main", "the commit to compare with"))
