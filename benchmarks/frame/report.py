"""Report: where and when a benchmark ran, its tables, results/<name>.json and .svg."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from cycler import cycler
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter, ScalarFormatter

from benchmarks.frame.statistics import Bound, Ratio
from sightline.serving.server import find_binary

FOLDER = Path(__file__).parents[1] / "results"
PAPER, INK, GRID = "#fffffe", "#30363d", "#d8dee4"
"""Of what is no series: they change with the theme, and are no colour of anything else."""
DARK = {PAPER: "#0d1117", INK: "#d1d7e0", GRID: "#3d444d"}
SERIES = ("#3b82c4", "#c9742b", "#3f9a5f", "#c9526b", "#8a6cc8")
"""At most five in a picture, each to be told from white and from the dark paper."""
GRAY = "#7d8590"
STYLE: Any = {
    **{f"{part}.facecolor": PAPER for part in ("figure", "axes", "savefig")},
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "hatch.color"), INK),
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=SERIES),
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "sightline",
}
PACKAGES = ("celery", "kombu", "fastapi", "uvicorn", "uvloop", "h11", "redis", "hiredis")


@dataclass(frozen=True)
class Findings:
    """What a run came to; `summary` is printed above the limits."""

    figures: dict[str, Any]
    picture: Figure
    bounds: Sequence[Bound] = ()
    ratios: Sequence[Ratio] = field(default=())
    summary: str = ""

    @property
    def met(self) -> bool:
        return all(bound.met for bound in self.bounds) and all(r.met is not False for r in self.ratios)


def origin() -> dict[str, Any]:
    """When, where and with what."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    server = ".".join(map(str, find_binary().version))
    versions = {"python": platform.python_version(), "valkey": server} | {p: version(p) for p in PACKAGES}
    machine = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        # What else ran when the run began.
        "load": [round(x, 2) for x in os.getloadavg()],
    }
    return {"date": date, "machine": machine, "versions": versions}


def table(findings: Findings) -> str:
    """What a person reads first."""
    lines = [findings.summary] if findings.summary else []
    if findings.ratios:
        lines.append(f"{'ours over baseline':38}{'baseline':30}{'median':>8}{'low':>8}{'high':>8}  target")
    for r in findings.ratios:
        target = "" if r.met is None else f">= {r.at_least}  {verdict(r.met)}"
        lines.append(f"{r.name:38}{r.baseline:30}{r.value:8.3f}{r.low:8.3f}{r.high:8.3f}  {target}")
    for b in findings.bounds:
        sign = ">=" if b.at_least else "<="
        lines.append(f"{b.name:42}{b.value:14,.3f} {sign}{b.limit:14,.2f} {b.unit}  {verdict(b.met)}")
    return "\n".join(lines)


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def whole(about: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """As the results hold it. Ratios are there only of benchmarks that have a baseline."""
    ratios = {"ratios": [asdict(r) for r in findings.ratios]} if findings.ratios else {}
    return about | findings.figures | ratios | {"limits": [bound.row() for bound in findings.bounds]}


def write(folder: Path, name: str, measured: dict[str, Any], picture: Figure) -> None:
    """<name>.json and <name>.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    draw(folder / f"{name}.svg", picture)
    print(f"wrote {name}.json and {name}.svg")


def draw(file: Path, picture: Figure) -> None:
    """An SVG that is read on white and on dark pages, with numbers that are written out."""
    for panel in picture.axes:
        for axis in (panel.xaxis, panel.yaxis):
            if isinstance(axis.get_major_formatter(), (ScalarFormatter, LogFormatter)):
                axis.set_major_formatter(FuncFormatter(_written_out))
                axis.set_minor_formatter(NullFormatter())
    picture.savefig(file, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.15)
    pyplot.close(picture)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("</style>", f"{dark_rules()}</style>", 1), encoding="utf-8")


def _written_out(value: float, _: int | None = None) -> str:
    """1,000 and 0.01 instead of powers of ten."""
    return f"{value:,.10g}"


def dark_rules() -> str:
    rules = "".join(
        f'[style*="{use}: {light}"]{{{use}:{dark}!important}}'
        for light, dark in DARK.items()
        for use in ("fill", "stroke")
    )
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def figure(columns: int = 1, size: tuple[float, float] = (11, 4), **options: Any) -> tuple[Figure, Any]:
    """A picture with panels side by side: an array of them where there are several."""
    pyplot.switch_backend("svg")
    pyplot.rcParams.update(STYLE)
    return pyplot.subplots(1, columns, figsize=size, layout="constrained", **options)


def label(panel: Any, x: str = "", y: str = "", *, log: bool = False, **legend: Any) -> None:
    """Name the axes and the lines; `log` is the horizontal axis's scale."""
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    if log:
        panel.set_xscale("log")
    if panel.get_legend_handles_labels()[0]:
        panel.legend(**legend)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
