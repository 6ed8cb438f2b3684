"""What fleets of workers do with their time, and where one record store ends: five minutes at most.

`--quick 1` shows in a minute that all of it works.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.fleet.workload import (
    KEPT_S,
    MEAN_S,
    MILL_WAYS,
    ROWS,
    SETTINGS,
    STEP_S,
    STEPS,
    WAYS,
    Way,
    models_file,
    placings,
)
from benchmarks.frame import command, report
from benchmarks.frame.services import ClientProcess, Installation, NotStartedError, opened, record_server
from benchmarks.frame.statistics import Bound
from benchmarks.frame.usage import CoreUsage
from shared.estimate import Lane
from shared.models import SPARE_THREADS
from shared.store import admission, jobs
from shared.store.script import Store, connect

SIZES, QUICK_SIZES = (1, 4, 16, 64), (1, 4)
WINDOW_S, QUICK_WINDOW_S = 10.0, 4.0
PER_PROCESS = 25
"""Workers in one process at most."""
WARM_S = 4.0
"""Pause between the moment when every claim is taken and the begin of the window."""
SPARE_WORK = 2.5
"""Jobs submitted per job that can be done by the window's end: workers begin while others still start."""
EFFICIENT = 0.95
ROOMY = 0.7
"""Below this share of its core the record server must not be what rows wait for."""
PER_S = {"whole": 2500.0, "webhooks": 1200.0}
"""Jobs a second that one record store is to do."""
FULL = 0.95
"""Above this share rows wait for this machine, which simulates workers that normally have their own."""
COLORS = report.SERIES[:3]


@dataclass(frozen=True)
class Fleet:
    """What one fleet came to. Shares are of its rows' time, and of one core; `machine` of all cores.

    `played` is what the processes of its workers take.
    """

    workers: int
    way: str
    efficiency: float
    jobs_per_s: float
    redis: float
    played: float
    machine: float


@dataclass(frozen=True)
class Saturation:
    """Of a record store filled by `mills` processes: `redis` is the share of a core that the server used,
    `full_per_s` the rate of a whole core."""

    way: str
    mills: int
    jobs_per_s: float
    redis: float
    full_per_s: float
    redis_us_per_job: float


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    sizes, window_s = (QUICK_SIZES, QUICK_WINDOW_S) if arguments.quick else (SIZES, WINDOW_S)
    fleets = []
    for workers in sizes:
        for way in WAYS:
            fleets.append(fleet(way, workers, window_s))
            say(str(fleets[-1]))
    saturations = [saturation(way, window_s) for way in MILL_WAYS]
    figures = {
        "window_s": window_s,
        "fleets": [asdict(row) for row in fleets],
        "mills": [asdict(row) for row in saturations],
    }
    return report.Findings(
        figures, _picture(fleets, saturations), _bounds(fleets, saturations), summary=str(saturations)
    )


def fleet(way: Way, workers: int, window_s: float) -> Fleet:
    """One fleet under more work than it can do. Raises NotStartedError."""
    with opened(FleetServices) as services:
        store = connect(services.records.settings)
        submit_backlog(store, way, workers, window_s)
        files = _start_workers(services, way, workers)
        # Until every claim that there may be is taken.
        most = workers * (ROWS + SPARE_THREADS)
        services.until(lambda: _lane(store, way).running >= most, f"{workers} workers are busy")
        time.sleep(WARM_S)
        return _window(store, files, way, workers, window_s)


def submit_backlog(store: Store, way: Way, workers: int, window_s: float) -> None:
    """Enough work for the whole measurement, so that no row is idle for want of it."""
    per_s = workers * ROWS / MEAN_S
    count = round(SPARE_WORK * per_s * (window_s + 2 * WARM_S)) + workers * (ROWS + SPARE_THREADS)
    for placing in islice(placings(way, 1), count):
        store.run(admission.submit(placing, SETTINGS))


def parts(whole: int, most: int) -> list[int]:
    """`whole` in as few parts as can be, none larger than `most`, all of about the same size."""
    count = -(-whole // most)
    return [whole // count + (number < whole % count) for number in range(count)]


class FleetServices(Installation):
    """A record server and a courier; the workers are started once there is work."""

    def __init__(self, folder: Path) -> None:
        retention = {f"SIGHTLINE_RETENTION__{name}_S": str(KEPT_S) for name in ("RESULT", "JOB", "EVENT")}
        super().__init__(folder, models_file(), {"OMP_NUM_THREADS": "1", **retention})

    def start(self) -> None:
        self.add(self.records)
        self.courier()


def _start_workers(services: Installation, way: Way, workers: int) -> list[Path]:
    """Processes with the workers in them; each reports its steps in a file."""
    files = []
    for number, count in enumerate(parts(workers, PER_PROCESS)):
        files.append(services.folder / f"workers-{number}.jsonl")
        arguments = (way.model.id, str(count), str(files[-1]))
        argv = ("-m", "benchmarks.fleet.workers", *arguments)
        services.run(f"workers-{number}", sys.executable, *argv, env=services.environment)
    return files


def _lane(store: Store, way: Way) -> Lane:
    return store.run(jobs.lane(SETTINGS, way.model.lane))


def _window(store: Store, files: Sequence[Path], way: Way, workers: int, window_s: float) -> Fleet:
    usage, began = CoreUsage(store.client), time.monotonic()
    time.sleep(window_s)
    used, ended = usage.since(), time.monotonic()
    if not _lane(store, way).queued:
        raise NotStartedError("the queue was empty before the end")
    steps_per_s = cpu = 0.0
    for file in files:
        # The last line may still be written.
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
        inside = [row for row in rows if began <= row["at"] <= ended]
        first, last = inside[0], inside[-1]
        steps_per_s += (last["steps"] - first["steps"]) / (last["at"] - first["at"])
        cpu += (last["cpu_s"] - first["cpu_s"]) / (last["at"] - first["at"])
    jobs_per_s = steps_per_s / STEPS
    return Fleet(
        workers=workers,
        way=way.name,
        efficiency=round(steps_per_s * STEP_S / (workers * ROWS), 4),
        jobs_per_s=round(jobs_per_s, 2),
        redis=round(used.redis, 4),
        played=round(cpu, 4),
        machine=round(used.machine / (os.cpu_count() or 1), 4),
    )


def saturation(way: Way, seconds: float) -> Saturation:
    """One process that fills the store for each core that the record server leaves, and two at least."""
    count = max(2, (os.cpu_count() or 2) - 1)
    with record_server() as records, ExitStack() as stack:
        env = {"SIGHTLINE_REDIS__URL": records.url()}
        mills = [
            ClientProcess("benchmarks.fleet.workload", way.name, f"{seconds:g}", str(number), env=env)
            for number in range(count)
        ]
        for mill in mills:
            stack.enter_context(mill)
        for mill in mills:
            mill.receive()
        usage = CoreUsage(records.client())
        rows = [json.loads(mill.receive()) for mill in mills]
        used = usage.since()
    per_s = sum(row["jobs"] / row["seconds"] for row in rows)
    return Saturation(
        way=way.name,
        mills=count,
        jobs_per_s=round(per_s, 1),
        redis=round(used.redis, 4),
        full_per_s=round(per_s / used.redis, 1),
        redis_us_per_job=round(used.redis / per_s * 1e6, 1),
    )


def _bounds(fleets: Sequence[Fleet], saturations: Sequence[Saturation]) -> list[Bound]:
    efficiencies = [
        Bound(f"{row.workers} workers, {row.way}: work", row.efficiency, EFFICIENT, "", at_least=True)
        for row in fleets
        if row.redis < ROOMY and row.machine < FULL
    ]
    rates = [
        Bound(f"one record store, {row.way}", row.full_per_s, PER_S[row.way], "jobs/s", at_least=True)
        for row in saturations
        if row.way in PER_S
    ]
    return efficiencies + rates


def _picture(fleets: Sequence[Fleet], saturations: Sequence[Saturation]) -> Figure:
    """Left the fleets, right the jobs a second that a whole core of Redis does."""
    figure, (left, right) = report.figure(2, width_ratios=(3, 1))
    for way, color in zip(WAYS, COLORS, strict=False):
        some = [row for row in fleets if row.way == way.name]
        sizes = [row.workers for row in some]
        left.plot(sizes, [row.efficiency for row in some], "o-", color=color, label=f"{way.name}: work")
        left.plot(sizes, [row.redis for row in some], "s--", color=color, label=f"{way.name}: Redis")
    left.set_ylim(0, 1.05)
    report.label(left, "workers", "share of the rows' time, share of a core", log=True)
    right.bar([row.way for row in saturations], [row.full_per_s for row in saturations], color=COLORS)
    right.set_ylabel("jobs/s of one Redis, its core full")
    return figure


if __name__ == "__main__":
    command.main("fleet", __doc__, measure, quick=(0, "1 = small sizes and short windows"))
