"""Tokens a second over the number of callers, a panel for each model and number format."""

from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.batching.plan import DTYPES, MODELS, SYSTEMS

COLORS = {
    "continuous": "tab:blue",
    "wide": "tab:purple",
    "sequential": "tab:cyan",
    "serve": "tab:orange",
    "vllm": "tab:green",
}
LINES = {1: "-", 2: "--"}


def drawn(parts: Sequence[dict[str, Any]]) -> Figure:
    pyplot.switch_backend("svg")
    figure, panels = pyplot.subplots(
        len(MODELS), len(DTYPES), figsize=(10, 8), sharex=True, sharey="row", layout="constrained"
    )
    for panel, (model, dtype) in zip(panels.flat, [(m, d) for m in MODELS for d in DTYPES], strict=True):
        for row in parts:
            if (row["model"], row["dtype"]) == (model, dtype):
                _line(panel, row)
        panel.set_title(f"{model}, {dtype}")
        panel.set_xscale("log", base=2)
        panel.set_ylim(bottom=0)
    for panel in panels[-1]:
        panel.set_xlabel("callers at once")
    for panel in panels[:, 0]:
        panel.set_ylabel("tokens/s")
    lines = {line.get_label(): line for panel in panels.flat for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


def _line(panel: Any, row: dict[str, Any]) -> None:
    points = sorted(row["points"].values(), key=lambda point: point["clients"])
    cores = "1 core" if row["cores"] == 1 else f"{row['cores']} cores"
    panel.plot(
        [point["clients"] for point in points],
        [point["tokens_per_s"] for point in points],
        LINES[row["cores"]],
        marker="o",
        color=COLORS[row["system"]],
        label=f"{SYSTEMS[row['system']].replace('`', '')}, {cores}",
    )
