"""From a submit to a worker: how long an idle queue takes to start a job, compared with a bare Celery task.

Every moment is taken on the monotonic clock, which is one for all processes of a machine. The arrival of a
run's `running` event here is taken for its claim, so each figure of ours is one wake-up too high (about
0.1 ms). The bare task's body reads the clock itself, and then publishes it.
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

LIMIT_S = 60
WARM_UP = 20
PAUSES_S = (0.004, 0.016)
"""Between samples: long enough to be idle, random so that no poll keeps step."""


@dataclass
class Latencies:
    """In ms. `after` counts from the sender's reply, `whole` from its call."""

    after: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, called: int, replied: int, claimed: int) -> None:
        """Moments in ns."""
        self.after.append((claimed - replied) / 1e6)
        self.whole.append((claimed - called) / 1e6)


class Listener:
    """Notes when messages of a channel arrive, in a thread that does nothing else."""

    def __init__(self, services: OverheadServices, *, pattern: str = "", name: str = "") -> None:
        # An attribute: a client that is collected closes the connections it made.
        self._client = services.records.client()
        self._pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)
        self._messages: queue.Queue[tuple[int, str, bytes]] = queue.Queue()
        if pattern:
            self._pubsub.psubscribe(pattern)
        else:
            self._pubsub.subscribe(name)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def next(self, limit_s: float = LIMIT_S) -> tuple[int, str, bytes]:
        """When (ns), of which run, and what. Raises queue.Empty."""
        return self._messages.get(timeout=limit_s)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._pubsub.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message:
                run = message["channel"].decode().removeprefix(channel(""))
                self._messages.put((time.monotonic_ns(), run, message["data"]))


class Ours:
    """POST /v1/jobs until the claim."""

    def __init__(self, services: OverheadServices) -> None:
        self.latencies = Latencies()
        self.listener = Listener(services, pattern=channel("job_*"))
        self._caller = Caller(services.api_port)
        self._numbers = iter(range(10**9))

    def sample(self) -> None:
        body = job(f"{next(self._numbers):09d} {QUESTION}")
        began = time.monotonic_ns()
        self._caller.call("POST", "/v1/jobs", body)
        replied = time.monotonic_ns()
        # A run publishes that it runs, its texts, and that it has ended.
        claimed, _, news = self.listener.next()
        while news != b"state":
            _, _, news = self.listener.next()
        self.latencies.add(began, replied, claimed)

    def close(self) -> None:
        self.listener.close()
        self._caller.close()


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
        self.latencies.add(began, sent, int(self.listener.next()[2]))

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
        "bare_sent_to_body": summary(bare.after),
        "bare_send_to_body": summary(bare.whole),
    }
