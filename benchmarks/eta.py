"""Do jobs start when estimated? About a minute.

Three loads on simulated workers, in the simulation's own time; the scripts and the record server are real.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.services import record_server
from benchmarks.frame.simulation import SimulatedJob, Simulation
from benchmarks.frame.statistics import Bound
from shared.job import Priority
from shared.store.script import Store, connect

JOBS, SEED = 2000, 1
ENGINES, ROWS, SLOTS = 2, 2, 4
"""Slots as `-c rows + 2` gives them."""
MEAN_S, SPREAD = 1.0, 0.6
"""Mean and spread of the lognormal service time: nine in ten between 0.3 and 2.2 s."""
CAPACITY = ENGINES * ROWS / MEAN_S
CALLERS = tuple(f"caller-{n}" for n in range(8))
PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "batch")
PRIORITY_WEIGHTS = (1, 8, 1)
SHARES = {"p50": 0.5, "p90": 0.9}
BINS = 12


def _poisson(dice: random.Random, jobs: int, first: float, last: float) -> Iterator[float]:
    """From one share of what the rows can do to another; above 1 the queue grows without end."""
    at = 0.0
    for number in range(jobs):
        at += dice.expovariate((first + (last - first) * number / jobs) * CAPACITY)
        yield at


def _bursty(dice: random.Random, jobs: int) -> Iterator[float]:
    """Half of the jobs come one by one, half in bursts of about forty."""
    at, burst = 0.0, 0
    for _ in range(jobs):
        if burst:
            burst -= 1
            at += dice.expovariate(50)
        else:
            at += dice.expovariate(0.4 * CAPACITY)
            burst = round(dice.expovariate(1 / 40)) if dice.random() < 1 / 40 else 0
        yield at


LOADS: dict[str, Callable[[random.Random, int], Iterator[float]]] = {
    "steady": partial(_poisson, first=0.85, last=0.85),
    "bursty": _bursty,
    "growing": partial(_poisson, first=0.3, last=1.3),
}
"""The moments at which jobs come, in seconds."""


def measure(arguments: command.Options, _: command.Say) -> report.Findings:
    with record_server() as records:
        store = connect(records.settings)
        jobs = {name: simulate(store, name, arguments.jobs) for name in LOADS}
    loads = {name: {promise: _share(some, promise) for promise in SHARES} for name, some in jobs.items()}
    bounds = [
        Bound(f"{name}: {promise}'s share off {share}", abs(load[promise] - share), 0.05, "")
        for name, load in loads.items()
        for promise, share in SHARES.items()
    ]
    figures = {"jobs": arguments.jobs, "loads": loads}
    return report.Findings(figures, _picture(jobs), bounds, summary=str(loads))


def simulate(store: Store, name: str, count: int) -> list[SimulatedJob]:
    """Return all jobs of a load in the order in which they came, each begun."""
    dice = random.Random(f"{name} {SEED}")  # noqa: S311
    store.client.flushdb()
    queue = Simulation(store, dice, engines=ENGINES, rows=ROWS, slots=SLOTS)
    weights = [1 / (n + 1) for n in range(len(CALLERS))]
    for at in LOADS[name](dice, count):
        drawn = SimulatedJob(
            caller=dice.choices(CALLERS, weights)[0],
            priority=dice.choices(PRIORITIES, PRIORITY_WEIGHTS)[0],
            cost=64,
            service_s=dice.lognormvariate(math.log(MEAN_S) - SPREAD**2 / 2, SPREAD),
            submitted_s=at,
        )
        queue.at(at, partial(queue.submit, drawn))
    queue.run_until(lambda: len(queue.jobs) == count and queue.waiting == 0)
    return list(queue.jobs.values())


def _share(jobs: Sequence[SimulatedJob], promise: str) -> float:
    """Return the share of the jobs that began within their estimate."""
    return round(float(np.mean([one.waited_s <= getattr(one.estimate, promise) for one in jobs])), 4)


def _picture(loads: Mapping[str, Sequence[SimulatedJob]]) -> Figure:
    """Draw the calibration: a panel for each load, jobs binned by their estimates."""
    figure, panels = report.figure(len(loads), (12, 4.5), sharex=True, sharey=True)
    for panel, (name, jobs) in zip(panels, loads.items(), strict=True):
        bins = np.array_split(np.array(sorted(jobs, key=lambda one: one.estimate.p50)), BINS)
        for promise, label, mark in (("p50", "half", "o"), ("p90", "nine in ten", "^")):
            estimates = [np.mean([getattr(one.estimate, promise) for one in some]) for some in bins]
            waits = [np.percentile([one.waited_s for one in some], int(promise[1:])) for some in bins]
            panel.plot(estimates, waits, mark, label=f"{label} began by then")
        panel.axline((0.01, 0.01), (1, 1), color=report.GRAY, linewidth=1, linestyle="--")
        panel.set_yscale("log")
        panel.set_title(name)
        report.label(panel, "estimated (p50, p90), s", "waited, s", log=True)
    return figure


if __name__ == "__main__":
    command.main("eta", __doc__, measure, jobs=(JOBS, "jobs of each load"))
