"""The calibration plot: estimated against real waits."""

from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.simulation import Piece

BINS = 12


def drawn(played: Mapping[str, Sequence[Piece]]) -> Figure:
    """One panel for each load, jobs binned by their estimates."""
    pyplot.switch_backend("svg")
    figure, panels = pyplot.subplots(1, len(played), figsize=(4 * len(played), 4), sharex=True, sharey=True)
    for panel, (name, pieces) in zip(panels, played.items(), strict=True):
        _calibration(panel, name, pieces)
    panels[0].set_ylabel("waited, s")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _calibration(panel: Any, name: str, pieces: Sequence[Piece]) -> None:
    ordered = sorted(pieces, key=lambda piece: piece.told.p50)
    size = len(ordered) // BINS
    bins = [ordered[at * size : (at + 1) * size] for at in range(BINS)]
    waits = [quantiles([p.waited_s for p in some], n=10) for some in bins]
    for at, share, mark in ((4, "p50", "o"), (8, "p90", "^")):
        told = [sum(getattr(p.told, share) for p in some) / len(some) for some in bins]
        label = f"{'half' if share == 'p50' else 'nine in ten'} began by then"
        panel.plot(told, [w[at] for w in waits], mark, label=label)
    panel.axline((0.01, 0.01), (1, 1), color="black", linewidth=1, linestyle="--")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("told (p50, p90), s")
    panel.set_title(name)
