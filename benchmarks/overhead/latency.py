"""From a submit to a worker: how long an idle queue takes to start a job, compared with a bare Celery task.

Every moment is taken on the monotonic clock, which is one for all processes of a machine (ns on Linux).
Ours: claim.lua publishes a run's `running` event in the script that claims it, and its arrival here is taken
for the claim, so each figure is the true one plus one wake-up (about 0.1 ms). The bare task's body reads the
clock first, which is exact, and then publishes it; ratios compare with that stricter figure. The record's own
`started_at` is Redis time in whole milliseconds: too coarse to measure with, good enough to check the method
(`check`).
"""

import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from celery import Celery

from benchmarks.frame.load import Caller
from benchmarks.frame.statistics import summary
from benchmarks.overhead.services import BARE_CHANNEL, BARE_QUEUE, BARE_TASK, QUESTION, OverheadServices, job
from shared.store.keys import channel

LIMIT_S = 10
WARM_UP = 20
PAUSES_S = (0.004, 0.016)
"""Between samples: long enough to be idle, random so that no poll keeps step."""


@dataclass
class Latencies:
    """One list per figure, in ms. `after` counts from the sender's reply, `whole` from its call.

    `check`: ours, how much later than the record's own whole ms; bare, the arrival of the body's message.
    """

    after: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    check: list[float] = field(default_factory=list)


class Listener:
    """Notes when messages of a channel arrive, in a thread that does nothing else."""

    def __init__(self, services: OverheadServices, *, pattern: str = "", name: str = "") -> None:
        # An attribute: a client that is collected closes the connections it made.
        self._client = services.records.client()
        self._pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)
        self._messages: queue.Queue[tuple[int, bytes]] = queue.Queue()
        if pattern:
            self._pubsub.psubscribe(pattern)
        else:
            self._pubsub.subscribe(name)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def next(self, limit_s: float = LIMIT_S) -> tuple[int, bytes]:
        """When (ns) and what. Raises queue.Empty."""
        return self._messages.get(timeout=limit_s)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._pubsub.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message:
                self._messages.put((time.monotonic_ns(), message["data"]))


class Ours:
    """POST /v1/jobs until the claim."""

    def __init__(self, services: OverheadServices) -> None:
        self.latencies = Latencies()
        self.listener = Listener(services, pattern=channel("run_*"))
        self._caller = Caller(services.api_port)
        self._numbers = iter(range(10**9))

    def sample(self) -> None:
        body = job(f"{next(self._numbers):09d} {QUESTION}")
        began = time.monotonic_ns()
        answer = self._caller.call("POST", "/v1/jobs", body)
        replied = time.monotonic_ns()
        # A run publishes three times that its state changed: queued, running, ended.
        _, claimed, _ = (self._state() for _ in range(3))
        self.latencies.after.append((claimed - replied) / 1e6)
        self.latencies.whole.append((claimed - began) / 1e6)
        self.latencies.check.append(self._after_record(answer["urls"]["self"], claimed))

    def close(self) -> None:
        self.listener.close()
        self._caller.close()

    def _state(self) -> int:
        while True:
            at, kind = self.listener.next()
            if kind == b"state":
                return at

    def _after_record(self, path: str, claimed: int) -> float:
        wall_ms = time.time() * 1e3 - (time.monotonic_ns() - claimed) / 1e6
        recorded = self._caller.call("GET", path)["attempts"][0]["started_at"] * 1e3
        return float(wall_ms - recorded)


class Bare:
    """send_task until the body runs."""

    def __init__(self, services: OverheadServices) -> None:
        self.latencies = Latencies()
        self.listener = Listener(services, name=BARE_CHANNEL)
        self._app = bare_client(services)

    def sample(self) -> None:
        began = time.monotonic_ns()
        self._app.send_task(BARE_TASK, queue=BARE_QUEUE)
        sent = time.monotonic_ns()
        arrived, text = self.listener.next()
        body = int(text)
        self.latencies.after.append((body - sent) / 1e6)
        self.latencies.whole.append((body - began) / 1e6)
        self.latencies.check.append((arrived - sent) / 1e6)

    def close(self) -> None:
        self.listener.close()


def bare_client(services: OverheadServices) -> Any:
    """Sends tasks to the bare worker."""
    app = Celery("bench", broker=services.records.url(1))
    app.conf.task_ignore_result = True
    return app


def measure(services: OverheadServices, samples: int) -> tuple[Latencies, Latencies]:
    """Ours and the bare task's, sampled in turn."""
    ours, bare = Ours(services), Bare(services)
    try:
        for number in range(-WARM_UP, samples):
            if number == 0:
                ours.latencies, bare.latencies = Latencies(), Latencies()
            for side in (ours, bare):
                side.sample()
                time.sleep(random.uniform(*PAUSES_S))  # noqa: S311
    finally:
        ours.close()
        bare.close()
    return ours.latencies, bare.latencies


def figures(ours: Latencies, bare: Latencies) -> dict[str, dict[str, float]]:
    return {
        "admit_reply_to_claim": summary(ours.after),
        "request_to_claim": summary(ours.whole),
        "claim_behind_record": summary(ours.check),
        "bare_sent_to_body": summary(bare.after),
        "bare_send_to_body": summary(bare.whole),
        "bare_sent_to_message": summary(bare.check),
    }
