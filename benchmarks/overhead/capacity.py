"""One worker's jobs a second, one API process's connections and memory, and the size of a broker message."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.frame.load import Caller, Shot, UnexpectedAnswerError, get, run
from benchmarks.frame.usage import Usage
from benchmarks.overhead.latency import Listener, bare_client
from benchmarks.overhead.services import (
    BARE_CHANNEL,
    BARE_NODE,
    BARE_TASK,
    ECHO,
    QUESTION,
    WIDE,
    OverheadServices,
    distinct_jobs,
    job,
    noise,
)
from shared.settings import Settings
from shared.store import models
from shared.store.jobs import lane
from shared.store.keys import channel
from shared.store.nudges import MOST, Nudger
from shared.store.script import connect

CONNECTIONS = 16
SUBMIT_S = 0.5
LOOK_S = 0.01
DRAIN_LIMIT_S, WAITERS_LIMIT_S = 120, 60
WAIT_S = 100
LARGE_SIDE = 1870
"""Side of a noise picture of 10 MB."""
HEAVY = ("torch", "transformers", "numpy", "celery")
BARE_BACKLOG = "bare-backlog"
_IMPORT = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Drain:
    """`worker_us` is the worker's processor time for a job."""

    jobs: int
    per_s: float
    worker_us: float


@dataclass(frozen=True)
class Waiters:
    """`most` is the highest number of connections seen, also while the callers came; `rss_mb` of the API."""

    clients: int
    connections: int
    most: int
    rss_mb: float


def drain(services: OverheadServices, jobs: int) -> Drain:
    """Jobs a second through one worker process, from the first claim until the queue is empty.

    They are submitted while the model is paused, so that the worker has the machine nearly for itself.
    """
    redis, settings = services.records.settings, Settings()
    store, usage = connect(redis), Usage([services[WIDE.name].pid])
    store.run(models.pause(WIDE.lane, paused=True))
    waiting = 0
    while waiting < jobs:
        shot = Shot(distinct_jobs(model=WIDE.id), 202)
        waiting += run(shot, services.api_port, seconds=SUBMIT_S, connections=CONNECTIONS).count
    store.run(models.pause(WIDE.lane, paused=False))
    Nudger(redis).send(WIDE.lane, MOST)
    began, busy = 0.0, 0.0
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while time.monotonic() < deadline:
        state = store.run(lane(settings, WIDE.lane))
        if not began and state.queued < waiting:
            began, busy, waiting = time.monotonic(), usage.cpu_s(), state.queued
        if not state.queued and not state.running:
            took, busy = time.monotonic() - began, usage.cpu_s() - busy
            return Drain(waiting, waiting / took, busy / waiting * 1e6)
        time.sleep(LOOK_S)
    raise UnexpectedAnswerError(f"{state.queued} of {waiting} jobs still wait")


def drain_bare(services: OverheadServices, tasks: int) -> float:
    """Tasks a second through the bare Celery worker, from its first of a backlog to its last."""
    app, listener = bare_client(services), Listener(services, name=BARE_CHANNEL)
    try:
        for _ in range(tasks):
            app.send_task(BARE_TASK, queue=BARE_BACKLOG)
        # Of ours none may consume them: their workers share the broker.
        app.control.add_consumer(BARE_BACKLOG, destination=[BARE_NODE])
        moments = [int(listener.next()[2]) for _ in range(tasks)]
    finally:
        app.control.cancel_consumer(BARE_BACKLOG, destination=[BARE_NODE])
        listener.close()
    return (tasks - 1) / (max(moments) - min(moments)) * 1e9


def waiters(services: OverheadServices, clients: int) -> Waiters:
    """Each waits for a job of its own by GET ?wait, until the API has subscribed to every run."""
    caller, paths = Caller(services.api_port), []
    for number in range(clients):
        answer = caller.call("POST", "/v1/jobs", job(f"waiter {number:06d} {QUESTION}"))
        paths.append(answer["urls"]["self"])
    caller.close()
    return asyncio.run(_wait_all(services, paths))


async def _wait_all(services: OverheadServices, paths: list[str]) -> Waiters:
    process, redis = psutil.Process(services["api"].pid), services.records.client()
    writers, most, waiting = [], 0, 0
    async with asyncio.timeout(WAITERS_LIMIT_S):
        for path in paths:
            _, writer = await asyncio.open_connection("127.0.0.1", services.api_port)
            writer.write(get(f"{path}?wait={WAIT_S}"))
            writers.append(writer)
            if len(writers) % 100 == 0:
                most = max(most, len(_connections(redis, process)))
        while waiting < len(paths):
            await asyncio.sleep(10 * LOOK_S)
            most = max(most, len(_connections(redis, process)))
            waiting = len(redis.pubsub_channels(channel("job_*")))
    at_last = len(_connections(redis, process))
    for writer in writers:
        writer.close()
    if not at_last:
        raise UnexpectedAnswerError("none of the API's connections was found")
    return Waiters(len(paths), at_last, max(most, at_last), round(process.memory_info().rss / 1e6, 1))


def _connections(redis: Any, process: psutil.Process) -> set[int]:
    """The entries of CLIENT LIST, all databases, whose other end is a socket of the process."""
    listed = {int(entry["addr"].rpartition(":")[2]) for entry in redis.client_list()}
    own = {c.laddr.port for c in process.net_connections("tcp") if c.laddr and c.raddr}
    return listed & own


def footprint(services: OverheadServices) -> dict[str, Any]:
    """The newest broker message after a job with a large picture, and the API process."""
    picture, caller = noise(LARGE_SIDE), Caller(services.api_port)
    caller.call("POST", "/v1/jobs", job("What is this?", picture))
    caller.close()
    with services.records.client(1) as broker:
        message = len(broker.lindex(ECHO.lane, 0))
    return {
        "broker_message_bytes": message,
        "picture_bytes": len(picture),
        "api_rss_mb": round(Usage([services["api"].pid]).rss_mb(), 1),
        "api_imported": imported(services),
    }


def imported(services: OverheadServices) -> list[str]:
    """Which heavy packages the API process imported so far (PYTHONPROFILEIMPORTTIME logs every import)."""
    names = set(_IMPORT.findall("\n".join(services["api"].lines())))
    if "api" not in names:
        raise UnexpectedAnswerError("the API's log lists no imports")
    return sorted(names & set(HEAVY))
