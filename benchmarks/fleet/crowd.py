"""One fleet of one size under more work than it can do: how much of its rows' time was work."""

import json
import os
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import server
from benchmarks.fleet.load import (
    KEPT_S,
    MEAN_S,
    ROWS,
    SETTINGS,
    STEP_S,
    STEPS,
    Way,
    models_file,
    placings,
)
from benchmarks.fleet.usage import Usage
from benchmarks.processes import Processes
from benchmarks.server import NotStartedError
from shared.estimate import Lane
from shared.models import SPARE_THREADS
from shared.settings import RedisSettings
from shared.store import admission, jobs
from shared.store.script import Store, connect
from sightline.serving import processes

PER_PROCESS = 25
"""Workers played by one process at most."""
WARM_S = 4.0
"""Pause between the moment when every claim is taken and the begin of the window."""
START_LIMIT_S = 90.0
SPARE_WORK = 2.5
"""Jobs submitted per job that can be done by the window's end: workers begin while others still start."""


@dataclass(frozen=True)
class Crowd:
    """What one fleet came to. Shares are of its rows' time, and of one core; `machine` of all cores."""

    workers: int
    way: str
    efficiency: float
    jobs_per_s: float
    redis: float
    played: float
    machine: float
    redis_us_per_job: float


def measure(way: Way, workers: int, window_s: float, seed: int) -> Crowd:
    """Raises NotStartedError."""
    with server.opened() as redis, TemporaryDirectory(prefix="sightline-fleet-") as folder:
        store = connect(redis)
        fill(store, way, workers, window_s, seed)
        players = _Players(Path(folder))
        try:
            players.begin(redis, way, workers)
            _until_busy(store, players, way, workers)
            time.sleep(WARM_S)
            return _watched(store, players, way, workers, window_s)
        finally:
            players.stop_all()


def fill(store: Store, way: Way, workers: int, window_s: float, seed: int) -> None:
    """Enough work for the whole measurement, so that no row is idle for want of it."""
    per_s = workers * ROWS / MEAN_S
    count = round(SPARE_WORK * per_s * (window_s + 2 * WARM_S)) + workers * (ROWS + SPARE_THREADS)
    for placing in islice(placings(way, seed), count):
        store.run(admission.submit(placing, SETTINGS))


class _Players(Processes):
    """The courier, and processes of played workers; each of these tells its steps in a file."""

    def begin(self, redis: RedisSettings, way: Way, workers: int) -> None:
        (self.folder / "models.toml").write_text(models_file())
        env = {
            "SIGHTLINE_REDIS__URL": redis.url.get_secret_value(),
            "SIGHTLINE_MODELS_FILE": str(self.folder / "models.toml"),
            "SIGHTLINE_BLOBS__URL": str(self.folder / "blobs"),
            "OMP_NUM_THREADS": "1",
            **{f"SIGHTLINE_RETENTION__{name}_S": str(KEPT_S) for name in ("RESULT", "JOB", "EVENT")},
        }
        argv = processes.courier(SETTINGS).argv
        self.start("courier", sys.executable, "-m", *argv, env=env)
        for number, count in enumerate(parts(workers, PER_PROCESS)):
            name = f"workers-{number}"
            played = (way.model.id, str(count), str(self.told(name)))
            self.start(name, sys.executable, "-m", "benchmarks.fleet.workers", *played, env=env)

    def told(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def samples(self) -> list[list[dict[str, float]]]:
        """Of each process of workers, in order of time. A line that is being written is left out."""
        found = []
        for name in self.processes:
            if name != "courier" and self.told(name).exists():
                lines = self.told(name).read_text(encoding="utf-8").split("\n")[:-1]
                found.append([json.loads(line) for line in lines])
        return found


def parts(whole: int, most: int) -> list[int]:
    """`whole` in as few parts as can be, none larger than `most`, all about alike."""
    count = -(-whole // most)
    return [whole // count + (number < whole % count) for number in range(count)]


def _until_busy(store: Store, players: _Players, way: Way, workers: int) -> None:
    """Until every claim that can be held is. Raises NotStartedError."""
    deadline = time.monotonic() + START_LIMIT_S
    while _lane(store, way).running < workers * (ROWS + SPARE_THREADS):
        ended = [name for name, process in players.processes.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            log = players.log(ended[0] if ended else "workers-0").read_text(errors="replace")
            raise NotStartedError(f"{workers} workers did not come up:\n{log[-2000:]}")
        time.sleep(0.2)


def _lane(store: Store, way: Way) -> Lane:
    return store.run(jobs.lane(SETTINGS, way.model.lane))


def _watched(store: Store, players: _Players, way: Way, workers: int, window_s: float) -> Crowd:
    usage, began = Usage(store.client), time.monotonic()
    time.sleep(window_s)
    spent, ended = usage.since(), time.monotonic()
    if not _lane(store, way).queued:
        raise NotStartedError("the line was empty before the end")
    steps_per_s = cpu = 0.0
    for told in players.samples():
        inside = [row for row in told if began <= row["at"] <= ended]
        passed = inside[-1]["at"] - inside[0]["at"]
        steps_per_s += (inside[-1]["steps"] - inside[0]["steps"]) / passed
        cpu += (inside[-1]["cpu_s"] - inside[0]["cpu_s"]) / passed
    jobs_per_s = steps_per_s / STEPS
    return Crowd(
        workers=workers,
        way=way.name,
        efficiency=round(steps_per_s * STEP_S / (workers * ROWS), 4),
        jobs_per_s=round(jobs_per_s, 2),
        redis=round(spent.redis, 4),
        played=round(cpu, 4),
        machine=round(spent.machine / (os.cpu_count() or 1), 4),
        redis_us_per_job=round(spent.redis / jobs_per_s * 1e6, 1),
    )
