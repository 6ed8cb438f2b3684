"""What was measured, as a table and as a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks import findings


@dataclass(frozen=True)
class Ratio:
    """Ours over a named baseline of the same run; `low` and `high` pair the rounds."""

    name: str
    baseline: str
    value: float
    low: float
    high: float
    at_least: float | None = None
    met: bool | None = None


def summary(values: Sequence[float]) -> dict[str, float]:
    """Summary of one latency figure."""
    ordered = sorted(values)
    return {
        "samples": len(ordered),
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[len(ordered) * 99 // 100], 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
    }


def ratio(
    name: str, baseline: str, ours: Sequence[float], theirs: Sequence[float], at_least: float | None = None
) -> Ratio:
    """The ratio of two figures whose rounds took turns."""
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    value = median(rounds)
    met = None if at_least is None else value >= at_least
    return Ratio(name, baseline, round(value, 4), round(min(rounds), 4), round(max(rounds), 4), at_least, met)


def table(ratios: Sequence[Ratio], bounds: Sequence[findings.Bound]) -> str:
    """What a person reads first."""
    lines = [f"{'ours over baseline':38}{'baseline':30}{'median':>8}{'low':>8}{'high':>8}  target"]
    for r in ratios:
        verdict = "" if r.met is None else f">= {r.at_least}  {findings.word(r.met)}"
        lines.append(f"{r.name:38}{r.baseline:30}{r.value:8.3f}{r.low:8.3f}{r.high:8.3f}  {verdict}")
    lines += ["", findings.table(bounds)]
    return "\n".join(lines)


def write(
    folder: Path, measured: dict[str, Any], ratios: Sequence[Ratio], bounds: Sequence[findings.Bound]
) -> tuple[Path, Path]:
    """overhead.json and overhead.svg."""
    whole = measured | {"ratios": [asdict(r) for r in ratios], "limits": findings.listed(bounds)}
    shown = [r for r in ratios if r.name in measured["throughput"]]
    return findings.write(folder, "overhead", whole, _drawn(measured["latency_ms"], shown))


def _drawn(latency: dict[str, dict[str, Any]], ratios: Sequence[Ratio]) -> Figure:
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), width_ratios=(2, 3))
    names = list(latency)
    for shift, key in ((-0.2, "p50"), (0.2, "p99")):
        bars = left.barh(
            [y + shift for y in range(len(names))], [latency[n][key] for n in names], 0.38, label=key
        )
        left.bar_label(bars, fmt="%.2f", padding=2)
    left.set_yticks(range(len(names)), [n.replace("_", " ") for n in names])
    left.set_xlabel("ms, idle queue")
    left.margins(x=0.15)
    left.legend()
    values = [r.value for r in ratios]
    spread = [[r.value - r.low for r in ratios], [r.high - r.value for r in ratios]]
    bars = right.barh([f"{r.name}\nover {r.baseline}" for r in ratios], values, xerr=spread, height=0.6)
    right.bar_label(bars, fmt="%.2f", padding=2, label_type="center", color="white")
    for target in {r.at_least for r in ratios if r.at_least is not None}:
        right.axvline(target, linestyle="--", color="black", linewidth=1)
    right.set_xlabel("requests/s, ours over the baseline (dashed: target)")
    figure.tight_layout()
    return figure
