"""How fast one worker process empties a line of jobs whose computing costs nothing."""

import time
from dataclasses import dataclass

import psutil

from benchmarks.overhead import questions
from benchmarks.overhead.load import Shot, run
from benchmarks.overhead.site import WIDE, Site
from shared.settings import RedisSettings, Settings
from shared.store import upkeep
from shared.store.jobs import lane
from shared.store.nudges import MOST, Nudger
from shared.store.script import connect

CONNECTIONS = 16
SUBMIT_S = 0.5
LOOK_S = 0.01
LIMIT_S = 120


class NotDrainedError(Exception):
    """The worker did not empty the line in time."""


@dataclass(frozen=True)
class Drained:
    """`worker_share` is the worker's use of one core meanwhile, `worker_us` its processor time for a job."""

    jobs: int
    per_s: float
    worker_share: float
    worker_us: float


def measure(site: Site, jobs: int) -> Drained:
    """Jobs a second from the first claim until the line is empty and nothing runs.

    They are submitted while the model is paused, so that the worker has the machine nearly for itself.
    """
    redis = RedisSettings.model_validate({"url": site.records.url()})
    store, settings, worker = connect(redis), Settings(), psutil.Process(site.processes[WIDE.name].pid)
    store.run(upkeep.pause(WIDE.lane, paused=True))
    waiting = 0
    while waiting < jobs:
        shot = Shot(questions.distinct_jobs(model=WIDE.id), 202)
        waiting += run(shot, site.api_port, seconds=SUBMIT_S, connections=CONNECTIONS).count
    store.run(upkeep.pause(WIDE.lane, paused=False))
    Nudger(redis).send(WIDE.lane, MOST)
    began, busy = 0.0, 0.0
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        seen = store.run(lane(settings, WIDE.lane))
        if not began and seen.queued < waiting:
            began, busy, waiting = time.monotonic(), _cpu_s(worker), seen.queued
        if not seen.queued and not seen.running:
            took, busy = time.monotonic() - began, _cpu_s(worker) - busy
            return Drained(waiting, waiting / took, busy / took, busy / waiting * 1e6)
        time.sleep(LOOK_S)
    raise NotDrainedError(f"{seen.queued} of {waiting} jobs still wait")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
