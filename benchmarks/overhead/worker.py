"""What a job costs on its way through a worker, compared with a bare Celery task: claims, jobs a second.

Every moment is taken on the monotonic clock, which is one for all processes of a machine. The arrival of a
job's `running` event here is taken for its claim, so each figure of ours is one wake-up too high (about
0.1 ms), and a claim before the reply counts as one with it. The bare task's body reads the clock itself.
"""

import random
import time
from contextlib import closing
from typing import Any

from celery import Celery

from benchmarks.frame.load import Caller, Shot, UnexpectedAnswerError, run
from benchmarks.overhead.services import (
    BARE_CHANNEL,
    BARE_NODE,
    BARE_QUEUE,
    BARE_TASK,
    QUESTION,
    WIDE,
    WIDE_LANE,
    OverheadServices,
    distinct_jobs,
    job,
)
from shared.settings import Settings
from shared.store import models
from shared.store.jobs import lane
from shared.store.keys import channel
from shared.store.nudges import MOST, Nudger
from shared.store.script import connect

LIMIT_S = 60
WARM_UP = 20
PAUSES_S = (0.004, 0.016)
"""Between samples: long enough to be idle, random so that no poll keeps step."""
CONNECTIONS = 16
SUBMIT_S = 0.5
LOOK_S = 0.01
BACKLOG = "bare-backlog"
JOBS = channel("job_*")
Message = tuple[int, str, bytes]


class Listener:
    """One subscription. Closing it closes its connection."""

    def __init__(self, services: OverheadServices, pattern: str) -> None:
        # An attribute: a client that is collected closes the connections it made.
        self._client = services.records.client()
        self._pubsub: Any = self._client.pubsub()
        self._pubsub.psubscribe(pattern)
        self._pubsub.get_message(timeout=LIMIT_S)

    def next(self) -> Message:
        """Return when the next message came (ns), of which job, and what it says. Raises TimeoutError."""
        message = self._pubsub.get_message(timeout=LIMIT_S)
        at = time.monotonic_ns()
        if message is None:
            raise TimeoutError(f"no message within {LIMIT_S} s")
        return at, message["channel"].decode().removeprefix(channel("")), message["data"]

    def close(self) -> None:
        self._pubsub.close()


def claims(services: OverheadServices, samples: int) -> dict[str, list[float]]:
    """Return from when to the claim, in ms: of a job, and of a bare task, in turn; the queue is idle."""
    ms: dict[str, list[float]] = {}
    app = bare_client(services)
    with (
        closing(Caller(services.api_port)) as caller,
        closing(Listener(services, JOBS)) as jobs,
        closing(Listener(services, BARE_CHANNEL)) as tasks,
    ):
        for number in range(-WARM_UP, samples):
            began = time.monotonic_ns()
            caller.call("POST", "/v1/jobs", job(f"{number:09d} {QUESTION}"))
            replied = time.monotonic_ns()
            # A job publishes that it runs, its texts, and that it has ended.
            claimed, _, news = jobs.next()
            while news != b"state":
                _, _, news = jobs.next()
            _pause()
            called = time.monotonic_ns()
            app.send_task(BARE_TASK, queue=BARE_QUEUE)
            sent = time.monotonic_ns()
            body = int(tasks.next()[2])
            _pause()
            if number >= 0:
                ms.setdefault("admit_reply_to_claim", []).append((claimed - replied) / 1e6)
                ms.setdefault("request_to_claim", []).append((claimed - began) / 1e6)
                ms.setdefault("bare_sent_to_body", []).append((body - sent) / 1e6)
                ms.setdefault("bare_send_to_body", []).append((body - called) / 1e6)
    return ms


def _pause() -> None:
    time.sleep(random.uniform(*PAUSES_S))  # noqa: S311


def bare_client(services: OverheadServices) -> Any:
    """Return a Celery application that sends tasks to the bare worker."""
    app = Celery("bench", broker=services.records.url(1))
    app.conf.task_ignore_result = True
    return app


def drain(services: OverheadServices, jobs: int) -> float:
    """Return the jobs a second of the wide worker, from its first claim until the queue is empty.

    They are submitted while the model is paused, so that the worker has the machine nearly for itself.
    """
    redis, settings = services.records.settings, Settings()
    store = connect(redis)
    store.run(models.change(WIDE_LANE, "pause"))
    waiting = 0
    while waiting < jobs:
        shot = Shot(distinct_jobs(model=WIDE), 202)
        waiting += run(shot, services.api_port, seconds=SUBMIT_S, connections=CONNECTIONS).count
    store.run(models.change(WIDE_LANE, "resume"))
    Nudger(redis).send(WIDE_LANE, MOST)
    began, deadline = 0.0, time.monotonic() + 2 * LIMIT_S
    while time.monotonic() < deadline:
        state = store.run(lane(settings, WIDE_LANE))
        if not began and state.queued < waiting:
            began, waiting = time.monotonic(), state.queued
        if not state.queued and not state.running:
            return waiting / (time.monotonic() - began)
        time.sleep(LOOK_S)
    raise UnexpectedAnswerError(f"{state.queued} of {waiting} jobs still wait")


def drain_bare(services: OverheadServices, tasks: int) -> float:
    """Return the tasks a second of the bare Celery worker, from its first of a backlog to its last."""
    app = bare_client(services)
    with closing(Listener(services, BARE_CHANNEL)) as listener:
        for _ in range(tasks):
            app.send_task(BARE_TASK, queue=BACKLOG)
        # Only the bare worker: our workers share its broker.
        app.control.add_consumer(BACKLOG, destination=[BARE_NODE])
        moments = [int(listener.next()[2]) for _ in range(tasks)]
        app.control.cancel_consumer(BACKLOG, destination=[BARE_NODE])
    return (tasks - 1) / (max(moments) - min(moments)) * 1e9
