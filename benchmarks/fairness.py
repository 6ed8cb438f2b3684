"""What one caller's flood does to the others: about a minute.

One caller submits 5,000 jobs, twenty others come a little later; then the same in the order of arrival.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.services import record_server
from benchmarks.frame.simulation import SimulatedJob, Simulation
from benchmarks.frame.statistics import Bound, percentiles
from shared.job import Priority
from shared.store.script import Store, connect

SEED = 1
ENGINES = 8
FLOOD = "flood"
FLOODED = 5000
OTHERS = tuple(f"other-{n:02d}" for n in range(20))
EACH = 20
OTHERS_AT_S = 5.0
COSTS = {"equal": (64,), "unequal": (16, 64, 256)}
S_PER_COST, SPREAD = 1 / 64, 0.3
"""A run of cost 64 takes a second; spread of the lognormal service time around that."""
EVERYBODY = "everybody"
PRIORITIES: dict[Priority, int] = {"interactive": 16, "normal": 4, "batch": 1}
EACH_PRIORITY = 2100
JAIN_TARGET = 0.95
SHARE_LIMIT = 0.01
ORDERS = {"fair": True, "fifo": False}
LINES = {"fair": "-", "fifo": "--"}
Floods = dict[str, dict[str, list[SimulatedJob]]]


def measure(_arguments: command.Options, _: command.Say) -> report.Findings:
    with record_server() as records:
        store = connect(records.settings)
        floods: Floods = {}
        for name, costs in COSTS.items():
            jobs = flood(costs)
            floods[name] = {order: serve(store, jobs, fair=fair) for order, fair in ORDERS.items()}
        priorities = serve(store, one_of_each_priority(), fair=True)
    figures: dict[str, Any] = {
        name: {order: _figures(jobs) for order, jobs in both.items()} for name, both in floods.items()
    }
    figures["classes"] = _shares(served_while_all_wait(priorities, "priority"))
    return report.Findings(figures, _picture(floods), _bounds(figures), summary=str(figures))


def flood(costs: Sequence[int]) -> list[SimulatedJob]:
    """5,000 of one caller at the start, 20 of each of twenty others 5 s later."""
    dice = random.Random(f"flood {len(costs) > 1} {SEED}")  # noqa: S311
    callers = [(FLOOD, 0.0)] * FLOODED + [(caller, OTHERS_AT_S) for _ in range(EACH) for caller in OTHERS]
    return [_job(dice, caller, at, cost=dice.choice(costs)) for caller, at in callers]


def one_of_each_priority() -> list[SimulatedJob]:
    """As many jobs of each at once: half from a caller of that priority only, half from one of all."""
    dice = random.Random(f"classes {SEED}")  # noqa: S311
    return [
        replace(_job(dice, caller, 0.0, cost=COSTS["equal"][0]), priority=priority)
        for priority in PRIORITIES
        for caller in (priority, EVERYBODY) * (EACH_PRIORITY // 2)
    ]


def _job(dice: random.Random, caller: str, at: float, *, cost: int) -> SimulatedJob:
    service = cost * S_PER_COST * dice.lognormvariate(-(SPREAD**2) / 2, SPREAD)
    return SimulatedJob(caller=caller, priority="normal", cost=cost, service_s=service, submitted_s=at)


def serve(store: Store, jobs: Sequence[SimulatedJob], *, fair: bool) -> list[SimulatedJob]:
    """Without `fair` the queue knows one caller only: the same code then serves in the order of arrival."""
    store.client.flushdb()
    queue = Simulation(store, random.Random(0), engines=ENGINES)  # noqa: S311
    for job in jobs:
        as_caller = job.caller if fair else EVERYBODY
        queue.at(job.submitted_s, partial(queue.submit, replace(job), as_caller=as_caller))
    queue.run_until(lambda: len(queue.jobs) == len(jobs) and queue.waiting == 0)
    return list(queue.jobs.values())


def served_while_all_wait(jobs: Sequence[SimulatedJob], key: str) -> dict[str, int]:
    """The cost begun for each caller (or priority) while all of them have work waiting."""
    ends: dict[str, float] = {}
    begins = 0.0
    for job in jobs:
        name = getattr(job, key)
        ends[name] = max(ends.get(name, 0.0), job.begun_s)
        begins = max(begins, job.submitted_s)
    end = min(ends.values())
    served = Counter(dict.fromkeys(ends, 0))
    for job in jobs:
        if begins < job.begun_s < end:
            served[getattr(job, key)] += job.cost
    return dict(served)


def jain(served: dict[str, int]) -> float:
    """1 where all were served the same cost, 1/n where one had everything (Jain, Chiu and Hawe 1984)."""
    costs = list(served.values())
    return sum(costs) ** 2 / (len(costs) * sum(cost * cost for cost in costs))


def _figures(jobs: Sequence[SimulatedJob]) -> dict[str, Any]:
    served = served_while_all_wait(jobs, "caller")
    return {
        "jain": round(jain(served), 4),
        **{
            f"{group}_wait_s": percentiles(_waits(jobs, group), "p50", "p99", digits=1)
            for group in ("others", "flood")
        },
    }


def _waits(jobs: Sequence[SimulatedJob], group: str) -> list[float]:
    return [job.waited_s for job in jobs if (job.caller == FLOOD) == (group == FLOOD)]


def _shares(served: dict[str, int]) -> dict[str, Any]:
    weights, total = sum(PRIORITIES.values()), sum(served.values())
    return {
        name: {"share": round(served[name] / total, 4), "due": round(weight / weights, 4)}
        for name, weight in PRIORITIES.items()
    }


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    off = max(abs(row["share"] - row["due"]) for row in figures["classes"].values())
    indexes = [
        Bound(f"Jain index, {costs} costs", figures[costs]["fair"]["jain"], JAIN_TARGET, "", at_least=True)
        for costs in COSTS
    ]
    return [*indexes, Bound("classes: furthest from 16 : 4 : 1", off, SHARE_LIMIT, "")]


def _picture(floods: Floods) -> Figure:
    """One panel for each kind of costs: the share of jobs begun within a time."""
    figure, panels = report.figure(len(floods), (5.5 * len(floods), 4), sharey=True)
    for panel, (costs, both) in zip(panels, floods.items(), strict=True):
        for order, jobs in both.items():
            for group, color in (("others", report.SERIES[0]), ("flood", report.GRAY)):
                style = {"linestyle": LINES[order], "color": color}
                report.shares(panel, _waits(jobs, group), f"{group}, {order}", **style)
        panel.set_title(f"{costs} costs")
        report.label(panel, "waited, s", "share of jobs begun")
        panel.set_xscale("symlog", linthresh=1)
    return figure


if __name__ == "__main__":
    command.main("fairness", __doc__, measure)
