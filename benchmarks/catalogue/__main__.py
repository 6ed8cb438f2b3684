"""Many models on few devices: what callers wait for, and how much loading costs. About two minutes.

Over a clock fifty models share four devices, under the product's policy, under two others and with room for
all; one more cannot be loaded, and none leaves for it. Then a node on this machine serves eight copies of the
tiny model, of which two have room.
"""

from concurrent.futures import ProcessPoolExecutor
from typing import Any

from matplotlib.figure import Figure

from benchmarks.catalogue.node import serve
from benchmarks.catalogue.policies import LRU
from benchmarks.catalogue.simulated import LOADS, simulate
from benchmarks.frame import command, report
from benchmarks.frame.statistics import Bound

MOST = {"p95": 0.5, "loading": 0.33}
HELD = {"Poisson, 2/s": ("p95",), "Poisson, 8/s": ("p95", "loading")}
"""Where one line cannot keep up. With less asked for, or in bursts, there is less to gain than that."""
COLD_ANSWER_S = 2.0
Figures = dict[str, Any]


def measure(_: command.Options, say: command.Say) -> report.Findings:
    # The longest first.
    ordered = sorted(LOADS, key=lambda load: (load.bursts, -load.per_s))
    with ProcessPoolExecutor() as pool:
        found = dict(zip(ordered, pool.map(simulate, ordered), strict=True))
    loads = {load.name: found[load] | {"over_lru": _over_lru(found[load])} for load in LOADS}
    say("the clock's half is done")
    node = serve()
    bounds = [
        Bound(f"{name}: {what} over one line's", loads[name]["over_lru"][what], MOST[what], "")
        for name, kinds in HELD.items()
        for what in kinds
    ]
    bounds += [
        Bound(
            f"{name}: evictions by the broken model", loads[name]["ours"]["evictions_by_broken"], 0, "models"
        )
        for name in loads
    ]
    alone = Bound("a cold model's first answer, p50", node["cold_s"]["p50"], COLD_ANSWER_S, "s")
    summary = "\n".join(f"{name}, {who}: {row}" for name, rows in loads.items() for who, row in rows.items())
    figures = {"simulated": loads, "node": node}
    return report.Findings(figures, _picture(loads, node), [*bounds, alone], summary=f"{summary}\n{node}")


def _over_lru(rows: Figures) -> dict[str, float]:
    ours, lru = rows["ours"], rows[LRU]
    return {
        "p95": round(ours["wait_s"]["p95"] / lru["wait_s"]["p95"], 3),
        "loading": round(ours["loading_s"] / lru["loading_s"], 3),
    }


def _picture(loads: Figures, node: Figures) -> Figure:
    """What nineteen in twenty waited for at most: over the clock by what is asked, on the node by model."""
    figure, panels = report.figure(3, (13, 4))
    for panel, bursts in zip(panels, (False, True), strict=False):
        some = [load for load in LOADS if load.bursts == bursts]
        for who in [name for name in loads[some[0].name] if name != "over_lru"]:
            waits = [loads[load.name][who]["wait_s"]["p95"] for load in some]
            panel.plot([load.per_s for load in some], waits, "o-", label=who)
        panel.set_yscale("symlog", linthresh=1)
        panel.set_title("in bursts" if bursts else "Poisson")
        report.label(panel, "calls a second", "waited (p95), s", log=True)
    for number, share in enumerate(("p95", "p50")):
        panels[2].bar(
            [*node["models"]],
            [row[share] for row in node["models"].values()],
            0.8 - 0.4 * number,
            label=share,
        )
    panels[2].tick_params(axis="x", rotation=45)
    panels[2].set_title("a node, two of eight at a time")
    report.label(panels[2], "", "until answered, s")
    return figure


if __name__ == "__main__":
    command.main("catalogue", __doc__, measure)
