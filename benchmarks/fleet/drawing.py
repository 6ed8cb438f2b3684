"""The efficiency of fleets by their size, beside the record server's load."""

from collections.abc import Sequence

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.fleet.crowd import Crowd
from benchmarks.fleet.load import WAYS
from benchmarks.fleet.milling import Milled


def drawn(crowds: Sequence[Crowd], milled: Sequence[Milled]) -> Figure:
    """Left the fleets, right the jobs a second that a whole core of the record server does."""
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 1))
    for way, color in zip(WAYS, ("tab:blue", "tab:orange"), strict=True):
        mine = [crowd for crowd in crowds if crowd.way == way.name]
        sizes = [crowd.workers for crowd in mine]
        left.plot(sizes, [c.efficiency for c in mine], "o-", color=color, label=f"{way.name}: work")
        left.plot(sizes, [c.redis for c in mine], "s--", color=color, label=f"{way.name}: record server")
    left.set_xscale("log")
    left.set_ylim(0, 1.05)
    left.set_xlabel("workers")
    left.set_ylabel("share of the rows' time, share of a core")
    left.legend(fontsize=8)
    right.bar(
        [row.way for row in milled], [row.full_per_s for row in milled], color=["tab:blue", "tab:orange"]
    )
    right.set_ylabel("jobs/s of one record server, its core full")
    figure.tight_layout()
    return figure
