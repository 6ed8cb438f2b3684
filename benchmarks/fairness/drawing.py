"""How long the twenty and the flood waited, fair beside the order of arrival."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.fairness.floods import FLOOD
from benchmarks.simulation import Piece

LINES = {"fair": "-", "fifo": "--"}


def drawn(played: Mapping[str, Mapping[str, Sequence[Piece]]]) -> Figure:
    """One panel for each kind of costs: the share of jobs begun within a time."""
    pyplot.switch_backend("svg")
    figure, panels = pyplot.subplots(1, len(played), figsize=(5.5 * len(played), 4), sharey=True)
    for panel, (costs, both) in zip(panels, played.items(), strict=True):
        for order, pieces in both.items():
            for who, color in (("the twenty", "tab:blue"), ("the flood", "tab:gray")):
                waits = sorted(p.waited_s for p in pieces if (p.caller == FLOOD) == (who == "the flood"))
                shares = [(at + 1) / len(waits) for at in range(len(waits))]
                panel.plot(waits, shares, LINES[order], color=color, label=f"{who}, {order}")
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xlabel("waited, s")
        panel.set_title(f"{costs} costs")
    panels[0].set_ylabel("share of jobs begun")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    return figure
