"""From the door to a worker: how long an idle queue takes to start a job, beside a bare Celery task.

Every moment is taken on the monotonic clock, which is one for all processes of a machine (ns on Linux).
Ours: claim.lua publishes a run's `running` event in the script that claims it, and its arrival here is taken
for the claim, so each figure is the true one plus one wake-up (about 0.1 ms). The bare task's body reads the
clock first, which is exact, and then publishes it; ratios compare with that stricter figure. The record's own
`started_at` is Redis time in whole milliseconds: too coarse to measure with, good enough to check the method
(`check`).
"""

import http.client
import json
import queue
import random
import threading
import time
from dataclasses import dataclass, field

from celery import Celery

from benchmarks.overhead import questions
from benchmarks.overhead.load import UnexpectedAnswerError
from benchmarks.overhead.site import Site
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


class Ear:
    """Notes when messages of a channel arrive, in a thread that does nothing else."""

    def __init__(self, site: Site, *, pattern: str = "", name: str = "") -> None:
        # Kept: a client that is collected closes the connections it made.
        self._client = site.records.client()
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._heard: queue.Queue[tuple[int, bytes]] = queue.Queue()
        if pattern:
            self._pubsub.psubscribe(pattern)
        else:
            self._pubsub.subscribe(name)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def next(self) -> tuple[int, bytes]:
        """When (ns) and what. Raises queue.Empty."""
        return self._heard.get(timeout=LIMIT_S)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._pubsub.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message:
                self._heard.put((time.monotonic_ns(), message["data"]))


class Ours:
    """POST /v1/jobs until the claim."""

    def __init__(self, site: Site) -> None:
        self.latencies = Latencies()
        self.ear = Ear(site, pattern=channel("run_*"))
        self._http = http.client.HTTPConnection("127.0.0.1", site.api_port)
        self._numbers = iter(range(10**9))

    def sample(self) -> None:
        body = questions.job(f"{next(self._numbers):09d} {questions.ASKED}")
        called = time.monotonic_ns()
        self._http.request("POST", "/v1/jobs", body, {"content-type": "application/json"})
        response = self._http.getresponse()
        text = response.read()
        replied = time.monotonic_ns()
        if response.status != 202:
            raise UnexpectedAnswerError(f"{response.status} {text[:500]!r}")
        # A run says three times that its state changed: queued, running, ended.
        _, claimed, _ = (self._state() for _ in range(3))
        self.latencies.after.append((claimed - replied) / 1e6)
        self.latencies.whole.append((claimed - called) / 1e6)
        self.latencies.check.append(self._behind_record(json.loads(text)["urls"]["self"], claimed))

    def _state(self) -> int:
        while True:
            at, kind = self.ear.next()
            if kind == b"state":
                return at

    def _behind_record(self, path: str, claimed: int) -> float:
        wall_ms = time.time() * 1e3 - (time.monotonic_ns() - claimed) / 1e6
        self._http.request("GET", path)
        recorded = json.loads(self._http.getresponse().read())["attempts"][0]["started_at"] * 1e3
        return float(wall_ms - recorded)


class Bare:
    """send_task until the body runs."""

    def __init__(self, site: Site) -> None:
        self.latencies = Latencies()
        self.ear = Ear(site, name=questions.BARE_CHANNEL)
        self._app = Celery("bench", broker=site.records.url(1))
        self._app.conf.task_ignore_result = True

    def sample(self) -> None:
        called = time.monotonic_ns()
        self._app.send_task(questions.BARE_TASK, queue=questions.BARE_QUEUE)
        sent = time.monotonic_ns()
        heard, text = self.ear.next()
        body = int(text)
        self.latencies.after.append((body - sent) / 1e6)
        self.latencies.whole.append((body - called) / 1e6)
        self.latencies.check.append((heard - sent) / 1e6)


def measure(site: Site, samples: int) -> tuple[Latencies, Latencies]:
    """Ours and the bare task's, sampled in turn."""
    ours, bare = Ours(site), Bare(site)
    try:
        for number in range(-WARM_UP, samples):
            if number == 0:
                ours.latencies, bare.latencies = Latencies(), Latencies()
            for side in (ours, bare):
                side.sample()
                time.sleep(random.uniform(*PAUSES_S))  # noqa: S311
    finally:
        ours.ear.close()
        bare.ear.close()
    return ours.latencies, bare.latencies
