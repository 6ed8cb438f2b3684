"""Many models on few devices: what callers wait for, and how much loading costs. About two minutes.

Over a clock fifty models share four devices for half an hour, the same calls under the product's policy and
under two others. Then a node on this machine serves eight copies of the tiny model, of which two have room.
"""

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from benchmarks.catalogue.machine import LRU, Call, CatalogueModel, Machine, policies
from benchmarks.catalogue.node import serve
from benchmarks.frame import command, report
from benchmarks.frame.statistics import Bound, percentiles

SEED = 1
MODELS, DEVICES = 50, 4
DEVICE_GB = 80
MODEL_GB = (6, 40)
GB_PER_S, START_S, UNLOAD_S, ROWS = 2, 2.0, 1.0, 8
LASTS_S = 1800
SERVICE_S, SPREAD = 2.0, 0.6
"""Mean and spread of the lognormal service time."""
BURST, BURST_PER_S = 20, 2.0
"""Calls of a burst on average, all for one model."""
LIMITS = (("Poisson, 2/s", "p95", 0.5), ("Poisson, 8/s", "p95", 0.5), ("Poisson, 8/s", "loading", 0.33))
"""Where one line cannot keep up. With fewer calls, or in bursts, there is less to gain than that."""
COLD_ANSWER_S = 2.0
Figures = dict[str, Any]


LOADS = {f"Poisson, {per_s:g}/s": (per_s, False) for per_s in (0.5, 2.0, 8.0)}
LOADS |= {f"bursts, {per_s:g}/s": (per_s, True) for per_s in (0.5, 2.0, 8.0)}
"""Calls a second. In bursts half of the callers call once, the others again and again for a while."""


def measure(_: command.Options, say: command.Say) -> report.Findings:
    with ProcessPoolExecutor() as pool:
        loads = dict(zip(LOADS, pool.map(simulate, LOADS), strict=True))
    say("the simulated half is done")
    node = serve()
    bounds = []
    for name, what, most in LIMITS:
        share = round(loads[name]["ours"][what] / loads[name][LRU][what], 3)
        bounds.append(Bound(f"{name}: {what} over one line's", share, most, ""))
    bounds.append(Bound("a cold model's first answer, p50", node["cold_s"]["p50"], COLD_ANSWER_S, "s"))
    summary = "\n".join(f"{name}: {row}" for name, row in loads.items())
    figures = {"simulated": loads, "node": node}
    return report.Findings(figures, _picture(loads), bounds, summary=f"{summary}\n{node}")


def simulate(load: str) -> Figures:
    """Return what callers waited for (s) and how long devices loaded (s), by policy."""
    models, figures = catalogue(), {}
    served = calls(load, [model.name for model in models])
    for name, policy in policies().items():
        machine = Machine({f"cuda:{n}": DEVICE_GB for n in range(DEVICES)}, models, policy)
        own = [replace(call) for call in served]
        machine.serve(own)
        waits = percentiles([call.waited_s for call in own], "p50", "p95", digits=1)
        figures[name] = waits | {"loading": round(machine.loading_s)}
    return figures


def catalogue() -> list[CatalogueModel]:
    dice = random.Random(f"models {SEED}")  # noqa: S311
    sizes = [math.exp(dice.uniform(*map(math.log, MODEL_GB))) for _ in range(MODELS)]
    return [
        CatalogueModel(f"model-{at}", size, START_S + size / GB_PER_S, UNLOAD_S, ROWS)
        for at, size in enumerate(sizes)
    ]


def calls(load: str, names: Sequence[str]) -> list[Call]:
    """Return calls in the order of their arrival, by Zipf's law."""
    dice, (per_s, bursts) = random.Random(f"{load} {SEED}"), LOADS[load]  # noqa: S311
    weights = [1 / (place + 1) for place in range(len(names))]
    mean = (1 + BURST) / 2 if bursts else 1
    arrived, at = list[Call](), 0.0
    while (at := at + dice.expovariate(per_s / mean)) < LASTS_S:
        (name,) = dice.choices(names, weights)
        arrived += [_call(dice, name, moment) for moment in _visit(dice, at, bursts=bursts)]
    return sorted(arrived, key=lambda call: call.arrived_s)


def _visit(dice: random.Random, at: float, *, bursts: bool) -> Iterator[float]:
    bursts = bursts and dice.random() < 0.5
    for _ in range(max(1, round(dice.expovariate(1 / BURST))) if bursts else 1):
        yield at
        at += dice.expovariate(BURST_PER_S)


def _call(dice: random.Random, name: str, at: float) -> Call:
    return Call(name, at, dice.lognormvariate(math.log(SERVICE_S) - SPREAD**2 / 2, SPREAD))


def _picture(loads: Figures) -> Figure:
    """Draw what nineteen in twenty waited for at most, by the calls a second."""
    figure, panels = report.figure(2, (10, 4))
    for panel, bursts in zip(panels, (False, True), strict=True):
        some = {name: per_s for name, (per_s, in_bursts) in LOADS.items() if in_bursts == bursts}
        for policy in policies():
            waits = [loads[name][policy]["p95"] for name in some]
            panel.plot(list(some.values()), waits, "o-", label=policy)
        panel.set_yscale("symlog", linthresh=1)
        panel.set_title("in bursts" if bursts else "Poisson")
        report.label(panel, "calls a second", "waited (p95), s", log=True)
    return figure


if __name__ == "__main__":
    command.main("catalogue", __doc__, measure)
