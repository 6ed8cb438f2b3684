"""The model worker with three additions: on a signal its engine hangs or its consumer goes deaf, and late
writes that the store refuses are logged. Started as
`python -m worker -A benchmarks.chaos.worker worker …`.

SIGUSR2 hangs the engine: no row makes another step, as if the device did not answer. SIGUSR1 makes Celery
hear no more nudges, as after an unnoticed error of its transport.
"""

import os
import signal
import sys
import threading
from typing import Any, TypeVar

from celery import signals

from shared.settings import RedisSettings
from shared.store.script import ScriptCall, Store, connect
from worker import app as product
from worker import model_worker
from worker.engines import echo
from worker.engines.row_limit import RowLimit

T = TypeVar("T")
HANG, DEAF = signal.SIGUSR2, signal.SIGUSR1
LATE = ("settle", "append")
"""Writes that name a claim; the store refuses them where the worker has lost it."""
app = product.app
_hung = threading.Event()


class HangingGate(RowLimit):
    """Every row ticks at each of its steps; after the signal none comes back."""

    def tick(self) -> None:
        if _hung.is_set():
            threading.Event().wait()
        super().tick()


class ReportingStore(Store):
    """Writes a line for every late write that was refused."""

    def run(self, call: ScriptCall[T]) -> T:
        reply = super().run(call)
        if call.script.name in LATE and reply == "lost":
            report(f"refused {call.script.name} {call.arguments['id']}")
        return reply


def report(line: str) -> None:
    """A line that the benchmark reads in this process's log. Celery redirects what is printed otherwise."""
    print(f"\nchaos: {line}", file=sys.__stderr__, flush=True)


def _connect(redis: RedisSettings) -> Store:
    return ReportingStore(connect(redis).client)


@signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _introduce(**_: Any) -> None:
    """Logs which process a worker's id belongs to."""
    report(f"worker {product._worker[0].worker} {os.getpid()}")


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _listen(sender: Any, **_: Any) -> None:
    signal.signal(DEAF, lambda *_: sender.task_consumer.cancel())


echo.Gate = HangingGate  # type: ignore[attr-defined]
model_worker.connect = _connect  # type: ignore[attr-defined]
signal.signal(HANG, lambda *_: _hung.set())
