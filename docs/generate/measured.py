"""The page of measurements. Every figure is read from benchmarks/results/, so that none disagrees with it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs.generate import measured_batching, measured_catalogue, measured_gpu
from docs.generate.tables import rows_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

HEAD = """\
# How fast it is

What was measured, when, on which machine? [How each figure is taken](../benchmarks/README.md). What was
measured long before the rest is left out; estimates, fairness, webhooks and Redis servers that fail are
[proven](proof.md) instead.
"""
SECTIONS = {
    "batching": "Many callers, compared with other servers",
    "gpu": "On a GPU",
    "overhead": "What the queue costs",
    "chaos": "What is lost when processes crash",
    "start": "What starting a tiny model takes",
    "catalogue": "What callers of many models wait for (simulated, and a node)",
    "fleet": "How many jobs one Redis does (no engine)",
}


def page(results: Path = RESULTS) -> str:
    known = {name: json.loads((results / f"{name}.json").read_text(encoding="utf-8")) for name in SECTIONS}
    return HEAD + "".join(_section(results, name, found) for name, found in known.items())


def _section(results: Path, name: str, found: dict[str, Any]) -> str:
    text = f"\n## {SECTIONS[name]}: `{name}`\n\n{_origin(found)}\n"
    if "model_removed" in found:
        text += _crashes(found)
    if name in TABLES:
        text += TABLES[name](found)
    if "ratios" in found:
        text += _ratios(found["ratios"])
    text += limits_of(found.get("limits", ()))
    drawn = f"{name}.svg"
    return text + (f"\n![{name}](../benchmarks/results/{drawn})\n" if (results / drawn).exists() else "")


def _crashes(found: dict[str, Any]) -> str:
    """How much was tried, and what is not counted as lost."""
    jobs, faults = found["jobs"], sum(found["faults"].values())
    lost = f"Not counted as lost: {found['model_removed']:,} jobs whose model a fault removed."
    return f"\n{jobs:,} jobs, {faults:,} faults. {lost}\n"


def _origin(found: dict[str, Any]) -> str:
    """Where and when. `load` is what else ran at the beginning, in cores."""
    machine = found["machine"]
    day, load = found["date"].partition("T")[0], machine["load"][0]
    cpu = re.sub(r"\(R\)| Processor$", "", machine["cpu"])
    return f"{day}, {machine['cores']} cores, {cpu}, load {load:g}."


def limits_of(limits: Sequence[dict[str, Any]]) -> str:
    """Return a table of the figures that have targets; one line names all that had to be 0 and is."""
    none = [row["name"] for row in limits if row["value"] == row["limit"] == 0]
    lines = [
        (row["name"], f"{_number(row['value'])} {row['unit']}".strip(), _target(row), _verdict(row["met"]))
        for row in limits
        if row["name"] not in none
    ]
    text = f"\nNone: {', '.join(none).replace('_', ' ')}.\n" if none else ""
    return text + (rows_of(("figure", "value", "target", ""), lines) if lines else "")


def _ratios(ratios: Sequence[dict[str, Any]]) -> str:
    return rows_of(
        ("ours", "baseline", "ratio", "lowest, highest", "target", ""),
        [
            (
                f"`{row['name']}`",
                f"`{row['baseline']}`",
                f"{row['value']:.2f}",
                f"{row['low']:.2f}, {row['high']:.2f}",
                "" if row["at_least"] is None else f"≥ {row['at_least']:g}",
                "" if row["met"] is None else _verdict(row["met"]),
            )
            for row in ratios
        ],
    )


def _target(row: dict[str, Any]) -> str:
    return f"{'≥' if row.get('at_least') else '≤'} {_number(row['limit'])}"


def _number(value: float) -> str:
    return f"{round(value, 3):,}" if value % 1 else f"{value:,.0f}"


def _verdict(met: bool) -> str:
    return "" if met else "**missed**"


def _mills(found: dict[str, Any]) -> str:
    head = ("answers", "jobs/s", "Redis's core", "a whole core would do", "processor time a job")
    return rows_of(
        head,
        [
            (
                row["way"],
                f"{row['jobs_per_s']:,.0f}",
                f"{row['redis']:.1%}",
                f"{row['full_per_s']:,.0f} jobs/s",
                f"{row['redis_us_per_job']:,.0f} µs",
            )
            for row in found["mills"]
        ],
    )


TABLES = {
    "batching": measured_batching.tables,
    "gpu": measured_gpu.tables,
    "fleet": _mills,
    "catalogue": measured_catalogue.tables,
}
