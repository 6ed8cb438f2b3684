"""The page of measurements. Every figure is read from benchmarks/results/, so that none disagrees with it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs.generate import measured_batches, measured_batching, measured_fleet
from docs.generate.tables import rows_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

HEAD = """\
# Benchmarks

What was measured, where, and how to measure it again, on an idle machine.
[benchmarks](../benchmarks/README.md) says what each figure means and how it is taken.
"""

TOLD = {
    "batching": ("Many callers at once, beside other servers", "python -m benchmarks.batching"),
    "overhead": ("What the queue costs", "python -m benchmarks.overhead"),
    "chaos": ("What is lost when things die", "python -m benchmarks.chaos"),
    "webhooks": ("Whether all webhooks are called", "python -m benchmarks.webhooks"),
    "clients": ("Many streams through OpenAI's client", "python -m benchmarks.clients"),
    "fairness": ("Whether one caller's flood holds up the others", "python -m benchmarks.fairness"),
    "eta": ("Whether jobs begin when callers were told", "python -m benchmarks.eta"),
    "soak": ("Whether anything is left behind", "python -m benchmarks.soak"),
    "cache": ("Whether the cache answers another question, or misses the same", "python -m benchmarks.cache"),
    "batches": ("Whether a batch of the promised size loses a line", "python -m benchmarks.batches"),
    "fleet": (
        "What a fleet does with its time, and where one record store ends",
        "python -m benchmarks.fleet",
    ),
}


def page(results: Path = RESULTS) -> str:
    return HEAD + "".join(_section(results, name) for name in TOLD)


def _section(results: Path, name: str) -> str:
    title, command = TOLD[name]
    told = f"\n## {title}: `{name}`\n\n```sh by-hand\n.venv/bin/{command}\n```\n"
    file = results / f"{name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if name == "batching":
        told += measured_batching.HOW
    if found is None:
        return told + "\nIt was not run yet.\n"
    told += f"\n{_origin(found)}\n"
    if name == "batching":
        told += measured_batching.tables(found)
    if name in ("overhead", "clients"):
        told += _ratios(found["ratios"])
    if name == "fleet":
        told += measured_fleet.tables(found)
    if name == "batches":
        told += measured_batches.tables(found)
    told += limits_of(found["limits"])
    drawn = f"{name}.svg"
    return told + (f"\n![{title}](../benchmarks/results/{drawn})\n" if (results / drawn).exists() else "")


def _origin(found: dict[str, Any]) -> str:
    """Where and when. `load` is what else ran at the beginning, in cores."""
    machine = found["machine"]
    day, load = found["date"].partition("T")[0], machine["load"][0]
    return f"Measured on {day}: {machine['cores']} cores of {machine['cpu']}, load {load:g} before it began."


def limits_of(limits: Sequence[dict[str, Any]]) -> str:
    """A table of the figures that have targets."""
    lines = [
        (row["name"], f"{_number(row['value'])} {row['unit']}".strip(), _target(row), _verdict(row["met"]))
        for row in limits
    ]
    return rows_of(("figure", "value", "target", ""), lines) if lines else ""


def _ratios(ratios: Sequence[dict[str, Any]]) -> str:
    return rows_of(
        ("ours", "over the baseline", "ratio", "lowest, highest", "target", ""),
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
    return "met" if met else "**missed**"
