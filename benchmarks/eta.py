"""Whether jobs begin when their callers were told: about nine minutes.

Three loads on simulated workers, in the simulation's own time; on real processes the steady one once more,
and one for models that a node loads and unloads.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import quantiles
from typing import Any, cast

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import NodeInstallation, opened, record_server
from benchmarks.frame.simulation import SimulatedJob, Simulation
from benchmarks.frame.statistics import Bound, percentiles
from benchmarks.overhead.services import PACED, OverheadServices, ServedModel, job
from shared.job import Estimate, Priority
from shared.store.script import Store, connect

JOBS, LIVE_JOBS, COLD_JOBS, SEED = 3000, 1000, 600, 1
LIVE, COLD = "real processes", "cold models"
ENGINES, ROWS, SLOTS = 2, 2, 4
"""Slots as `-c rows + 2` gives them."""
MEAN_S, SPREAD = 1.0, 0.6
"""Mean and spread of the lognormal service time: nine in ten between 0.3 and 2.2 s."""
CAPACITY = ENGINES * ROWS / MEAN_S
CALLERS = tuple(f"caller-{n}" for n in range(8))
PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "batch")
PRIORITY_WEIGHTS = (1, 8, 1)
LIVE_WORDS = (5, 60)
"""Fewest and most words of a question on real processes; the engine takes 10 ms for each."""
LIVE_MEAN_S = sum(LIVE_WORDS) / 2 * 0.01
LIVE_USE = 0.8
LIVE_LIMIT_S = 60
LOADS_S = (0.5, 1, 1.5, 2, 3)
CATALOGUE = tuple(
    ServedModel(
        f"bench/{s}", 2, f'engine = "echo"\nmemory_mb = 100\noptions = {{ step_s = 0.01, load_s = {s} }}'
    )
    for s in LOADS_S
)
"""By how often they are asked for."""
CATALOGUE_ENV = {"SIGHTLINE_NODE__MEMORY_MB": "250"}
"""Two of them have room at a time."""
CATALOGUE_PER_S = 2
FREE_S = 0.03
"""A job told less than this finds a free row."""
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
    if arguments.live:
        jobs[LIVE] = serve_steady(arguments.live)
    if arguments.cold:
        jobs[COLD] = serve_catalogue(arguments.cold)
    loads = {name: _figures(some) for name, some in jobs.items()}
    figures = {"jobs": arguments.jobs, "loads": loads}
    return report.Findings(figures, _picture(jobs), _bounds(loads), summary=str(loads))


def simulate(store: Store, name: str, count: int) -> list[SimulatedJob]:
    """All jobs of a load in the order in which they came, each begun."""
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


def serve_steady(count: int) -> list[SimulatedJob]:
    """The steady load on real processes, whose engine takes its time."""
    with opened(OverheadServices) as services:
        services.start_worker(PACED)
        return _serve(services.api_port, count, [PACED], LIVE_USE * PACED.rows / LIVE_MEAN_S)


def serve_catalogue(count: int) -> list[SimulatedJob]:
    """Models asked for by Zipf's law, of which most are cold."""
    models = "".join(model.toml() for model in CATALOGUE)
    with opened(lambda folder: NodeInstallation(folder, models, CATALOGUE_ENV)) as services:
        return _serve(services.api_port, count, CATALOGUE, CATALOGUE_PER_S)


def _serve(port: int, count: int, models: Sequence[ServedModel], per_s: float) -> list[SimulatedJob]:
    """Times are by the record server's clock."""
    dice, weights = random.Random(SEED), [1 / (n + 1) for n in range(len(models))]  # noqa: S311
    caller, due, submitted = Caller(port, LIVE_LIMIT_S), time.monotonic(), []
    for number in range(count):
        time.sleep(max(due - time.monotonic(), 0))
        due += dice.expovariate(per_s)
        words = " ".join(["word"] * (dice.randint(*LIVE_WORDS) - 1))
        model = dice.choices(models, weights)[0].id
        submitted.append(caller.call("POST", "/v1/jobs", job(f"{number:06d} {words}", model=model)))
    ended = [_end_of(caller, one["urls"]["self"]) for one in submitted]
    caller.close()
    return [_live_job(*pair) for pair in zip(submitted, ended, strict=True)]


def _end_of(caller: Caller, path: str) -> dict[str, Any]:
    while True:
        view = caller.call("GET", f"{path}?wait={LIVE_LIMIT_S}")
        if "ended_at" in view:
            return cast(dict[str, Any], view)


def _live_job(submitted: dict[str, Any], ended: dict[str, Any]) -> SimulatedJob:
    estimate, begun = submitted["estimate"], ended["attempts"][0]["started_at"]
    return SimulatedJob(
        caller="anyone",
        priority="normal",
        cost=1,
        service_s=ended["ended_at"] - ended["started_at"],
        submitted_s=0.0,
        estimate=Estimate(estimate["p50"], estimate["p90"], estimate["service_s"], estimate["basis"]),
        # Both are whole milliseconds; their difference as a binary fraction is a little off.
        begun_s=round(begun - submitted["created_at"], 3),
    )


def _figures(jobs: Sequence[SimulatedJob]) -> dict[str, Any]:
    """Of all jobs, and of only those that had to wait for a row."""
    queued = [one for one in jobs if one.estimate.p50 > FREE_S]
    waits = {f"wait_{name}_s": s for name, s in percentiles([one.waited_s for one in jobs], "p50").items()}
    return _shares(jobs) | waits | {"in_line": {"jobs": len(queued)} | (_shares(queued) if queued else {})}


def _shares(jobs: Sequence[SimulatedJob]) -> dict[str, float]:
    return {
        "within_p50": round(sum(one.waited_s <= one.estimate.p50 for one in jobs) / len(jobs), 4),
        "within_p90": round(sum(one.waited_s <= one.estimate.p90 for one in jobs) / len(jobs), 4),
    }


def _bounds(loads: Mapping[str, dict[str, Any]]) -> list[Bound]:
    return [
        Bound(f"{name}: {promise}'s share off {share}", abs(load[f"within_{promise}"] - share), 0.05, "")
        for name, load in loads.items()
        for promise, share in (("p50", 0.5), ("p90", 0.9))
    ]


def _picture(loads: Mapping[str, Sequence[SimulatedJob]]) -> Figure:
    """The calibration plot: one panel for each load, jobs binned by their estimates."""
    figure, panels = report.figure(2, (9, 9), rows=-(-len(loads) // 2), sharex=True, sharey=True)
    for panel, (name, jobs) in zip(panels.flat, loads.items(), strict=False):
        _draw_calibration(panel, name, jobs)
    report.label(panels.flat[0], log=True)
    for panel in panels.flat[len(loads) :]:
        panel.set_visible(False)
    for panel in panels.flat:
        panel.set_xlabel("estimated (p50, p90), s")
        panel.set_ylabel("waited, s")
    return figure


def _draw_calibration(panel: Any, name: str, jobs: Sequence[SimulatedJob]) -> None:
    ordered = sorted(jobs, key=lambda one: one.estimate.p50)
    size = len(ordered) // BINS
    bins = [ordered[at * size : (at + 1) * size] for at in range(BINS)]
    waits = [quantiles([one.waited_s for one in some], n=10) for some in bins]
    for at, share, mark in ((4, "p50", "o"), (8, "p90", "^")):
        estimates = [sum(getattr(one.estimate, share) for one in some) / len(some) for some in bins]
        label = f"{'half' if share == 'p50' else 'nine in ten'} began by then"
        panel.plot(estimates, [row[at] for row in waits], mark, label=label)
    panel.axline((0.01, 0.01), (1, 1), color=report.GRAY, linewidth=1, linestyle="--")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_title(name)


if __name__ == "__main__":
    command.main(
        "eta",
        __doc__,
        measure,
        jobs=(JOBS, "jobs of each simulated load"),
        live=(LIVE_JOBS, "jobs of the steady load on real processes; 0 leaves it out"),
        cold=(COLD_JOBS, "jobs of the load on cold models; 0 leaves it out"),
    )
