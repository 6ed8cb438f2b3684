"""A process with many model workers in it: `python -m benchmarks.fleet.workers MODEL COUNT FILE`.

Each is the product's own node (claims, leases, heartbeats, the publisher of its streams, attempts, settling)
with threads and connections of its own. Two things are simulated: the engine, which takes the time that
a device would and gives its answer as it comes or all at the end; and Celery's consumer, which only takes
nudges. Twice a second a line of JSON goes to FILE: `at` (monotonic s), `steps` that all engines made, `cpu_s`
of this process.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from redis import Redis

from benchmarks.fleet.workload import STREAMED
from shared.models import Model
from shared.models_file import load_models
from shared.settings import settings
from worker import model_worker
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.echo import Echo, EchoEngine
from worker.engines.sampling.detokenizer import Transcript

REPORT_S = 0.5
NUDGE_WAIT_S = 1


class StepCounter:
    """Steps of all engines of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def step(self) -> None:
        with self._lock:
            self.count += 1


STEPS = StepCounter()


class PacedEngine(EchoEngine):
    """Keeps its pace to the step: a thread that wakes up late here must not count as a slow device."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._streams = model.id == STREAMED.model.id
        self._places = threading.Semaphore(model.rows)

    def generate(self, row: Row) -> Finish:
        with self._places:
            return self._paced(row, row.prompt.inputs)

    def _paced(self, row: Row, echo: Echo) -> Finish:
        tokens = echo.tokens
        transcript = Transcript(
            row, lambda ids: "".join(tokens[i] for i in ids), lambda i: (tokens[i], tokens[i].encode())
        )
        due = time.monotonic()
        for token in range(len(tokens)):
            due += self._options.step_s
            if row.cancel.wait(max(due - time.monotonic(), 0)):
                raise Cancelled
            STEPS.step()
            if self._streams:
                transcript.add(token)
        for token in range(len(transcript.ids), len(tokens)):
            transcript.add(token)
        return transcript.finish("stop", score=1.0)


def serve(worker: model_worker.ModelWorker, broker: Any) -> None:
    """One task thread, without end: what Celery hands out is a nudge."""
    lane = worker.model.lane
    while True:
        worker.work(lane)
        broker.brpop(lane, timeout=NUDGE_WAIT_S)


def open_all(model: Model, count: int) -> None:
    """All workers, and their task threads."""
    for _ in range(count):
        worker = model_worker.open_model_worker(settings(), model, model.threads)
        broker = Redis.from_url(settings().redis.broker_url)
        for _ in range(model.threads):
            threading.Thread(target=serve, args=(worker, broker), daemon=True).start()


def report(out: IO[str]) -> None:
    while True:
        counts = {"at": time.monotonic(), "steps": STEPS.count, "cpu_s": time.process_time()}
        out.write(json.dumps(counts) + "\n")
        out.flush()
        time.sleep(REPORT_S)


def main() -> None:
    name, count, path = sys.argv[1:]
    # Threads are daemons, and what they hold dies with the record server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    model_worker.create = PacedEngine  # type: ignore[attr-defined]
    open_all(load_models(settings().models_file).worker_model(name), int(count))
    with Path(path).open("w", encoding="utf-8") as out:
        report(out)


if __name__ == "__main__":
    main()
