"""What one caller's flood does to the others: about a minute.

One caller submits 5,000 jobs, twenty others come a little later; then the same in the order of arrival.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
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
CALLERS = [(FLOOD, 0.0)] * 5000 + [(f"other-{n:02d}", 5.0) for _ in range(20) for n in range(20)]
"""Each job's caller, and when it comes (s)."""
COSTS = {"equal": (64,), "unequal": (16, 64, 256)}
S_PER_COST, SPREAD = 1 / 64, 0.3
"""A job of cost 64 takes a second; spread of the lognormal service time around that."""
EVERYBODY = "everybody"
PRIORITIES: dict[Priority, int] = {"interactive": 16, "normal": 4, "batch": 1}
EACH_PRIORITY = 2100
JAIN_TARGET = 0.95
SHARE_LIMIT = 0.01
LINES = {"fair": "-", "fifo": "--"}
Floods = Mapping[str, Mapping[str, Sequence[SimulatedJob]]]


def measure(_arguments: command.Options, _: command.Say) -> report.Findings:
    with record_server() as records:
        store = connect(records.settings)
        floods: dict[str, dict[str, list[SimulatedJob]]] = {}
        for name, costs in COSTS.items():
            jobs = flood(costs)
            floods[name] = {order: serve(store, jobs, fair=order == "fair") for order in LINES}
        priorities = serve(store, one_of_each_priority(), fair=True)
    figures: dict[str, Any] = {
        name: {order: _figures(jobs) for order, jobs in both.items()} for name, both in floods.items()
    }
    served, weights = served_while_all_wait(priorities, "priority"), sum(PRIORITIES.values())
    shares = {name: served[name] / sum(served.values()) for name in PRIORITIES}
    off = max(abs(shares[name] - weight / weights) for name, weight in PRIORITIES.items())
    figures["classes"] = {name: round(share, 4) for name, share in shares.items()}
    bounds = [
        Bound(f"Jain index, {costs} costs", figures[costs]["fair"]["jain"], JAIN_TARGET, "", at_least=True)
        for costs in COSTS
    ]
    bounds.append(Bound("classes: furthest from 16 : 4 : 1", round(off, 4), SHARE_LIMIT, ""))
    return report.Findings(figures, _picture(floods), bounds, summary=str(figures))


def flood(costs: Sequence[int]) -> list[SimulatedJob]:
    dice = random.Random(f"flood {len(costs) > 1} {SEED}")  # noqa: S311
    return [_job(dice, caller, at, cost=dice.choice(costs)) for caller, at in CALLERS]


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


def served_while_all_wait(jobs: Sequence[SimulatedJob], key: str) -> Counter[str]:
    """Return the cost begun for each caller (or priority) while all of them have work waiting."""
    ends: dict[str, float] = {}
    for job in jobs:
        name = getattr(job, key)
        ends[name] = max(ends.get(name, 0.0), job.begun_s)
    begins, end = max(job.submitted_s for job in jobs), min(ends.values())
    served = Counter(dict.fromkeys(ends, 0))
    for job in jobs:
        if begins < job.begun_s < end:
            served[getattr(job, key)] += job.cost
    return served


def jain(costs: Sequence[int]) -> float:
    """1 where all were served the same cost, 1/n where one had everything (Jain, Chiu and Hawe 1984)."""
    return sum(costs) ** 2 / (len(costs) * sum(cost * cost for cost in costs))


def _figures(jobs: Sequence[SimulatedJob]) -> dict[str, Any]:
    served = served_while_all_wait(jobs, "caller")
    waits = percentiles(_waits(jobs, flood=False), "p50", "p99", digits=1)
    return {"jain": round(jain(list(served.values())), 4), "others_wait_s": waits}


def _waits(jobs: Sequence[SimulatedJob], *, flood: bool) -> list[float]:
    return [job.waited_s for job in jobs if (job.caller == FLOOD) == flood]


def _picture(floods: Floods) -> Figure:
    """Draw one panel for each kind of costs: the share of jobs begun within a time."""
    figure, panels = report.figure(len(floods), (11, 4), sharey=True)
    for panel, (costs, both) in zip(panels, floods.items(), strict=True):
        for order, jobs in both.items():
            for group, color in (("others", report.SERIES[0]), ("flood", report.GRAY)):
                waits, style = _waits(jobs, flood=group == "flood"), LINES[order]
                panel.ecdf(waits, label=f"{group}, {order}", linestyle=style, color=color)
        panel.set_title(f"{costs} costs")
        report.label(panel, "waited, s", "share of jobs begun")
        panel.set_xscale("symlog", linthresh=1)
    return figure


if __name__ == "__main__":
    command.main("fairness", __doc__, measure)
