"""The page of measurements. Every figure is read from benchmarks/results/, so that none disagrees with it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs.generate import (
    measured_batches,
    measured_batching,
    measured_catalogue,
    measured_fleet,
    measured_gpu,
)
from docs.generate.tables import rows_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

HEAD = """\
# Benchmarks

What was measured, when, on which machine? [How each figure is
taken](../benchmarks/README.md).
"""

SECTIONS = {
    "batching": "Many callers, compared with other servers",
    "gpu": "On a GPU",
    "preparing": "Whether the device waits for pictures (simulated device)",
    "overhead": "What the queue costs",
    "chaos": "What is lost when processes crash",
    "swaps": "What is lost when models are swapped meanwhile",
    "failover": "What is lost with the primary",
    "pages": "Whether a document loses a page when processes crash",
    "webhooks": "Whether every webhook is delivered",
    "streams": "Many streams through OpenAI's client",
    "start": "What starting a tiny model takes",
    "catalogue": "What callers of many models wait for (simulated, and a node)",
    "first_minute": "From nothing to the first answer",
    "page": "Whether the page stutters",
    "pictures": "What large pictures cost to decode",
    "fairness": "Whether one caller's flood delays others (simulated)",
    "eta": "Whether jobs start when estimated (simulated)",
    "soak": "Whether anything is left behind",
    "cache": "Whether the cache confuses requests",
    "batches": "Whether a batch loses a line",
    "map": "Whether a map loses a row",
    "fleet": "Where one Redis ends (simulated engine)",
}


def page(results: Path = RESULTS) -> str:
    return HEAD + "".join(_section(results, name) for name in SECTIONS)


def _section(results: Path, name: str) -> str:
    title = SECTIONS[name]
    text = f"\n## {title}: `{name}`\n"
    file = results / f"{name}.json"
    if not file.exists():
        return text + "\nNot run yet.\n"
    found = json.loads(file.read_text(encoding="utf-8"))
    text += f"\n{_origin(found)}\n"
    if name == "batching":
        text += measured_batching.tables(found)
    if name in ("overhead", "streams", "page", "pictures", "map", "preparing"):
        text += _ratios(found["ratios"])
    if name == "gpu":
        text += measured_gpu.tables(found)
    if name == "fleet":
        text += measured_fleet.tables(found)
    if name == "catalogue":
        text += measured_catalogue.tables(found)
    if name == "batches":
        text += measured_batches.tables(found)
    text += limits_of(found.get("limits", ()))
    drawn = f"{name}.svg"
    return text + (f"\n![{name}](../benchmarks/results/{drawn})\n" if (results / drawn).exists() else "")


def _origin(found: dict[str, Any]) -> str:
    """Where and when. `load` is what else ran at the beginning, in cores."""
    machine = found["machine"]
    day, load = found["date"].partition("T")[0], machine["load"][0]
    cpu = re.sub(r"\(R\)| Processor$", "", machine["cpu"])
    return f"{day}, {machine['cores']} cores, {cpu}, load {load:g}."


def limits_of(limits: Sequence[dict[str, Any]]) -> str:
    """A table of the figures that have targets."""
    lines = [
        (row["name"], f"{_number(row['value'])} {row['unit']}".strip(), _target(row), _verdict(row["met"]))
        for row in limits
    ]
    return rows_of(("figure", "value", "target", ""), lines) if lines else ""


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
