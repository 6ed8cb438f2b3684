"""The model worker; on a signal its engine hangs or its consumer goes deaf. Started as
`python -m worker -A benchmarks.chaos.worker worker …`.

SIGUSR2 hangs the engine: no row makes another step, as if the device did not answer. SIGUSR1 makes Celery
hear no more nudges, as after an unnoticed error of its transport.
"""

import os
import signal
import sys
import threading
from typing import Any

from celery import signals

from shared.registry import model_of_worker
from shared.settings import Settings
from worker.celery_app import process_app
from worker.engines import echo
from worker.engines.row_limit import RowLimit
from worker.model_worker import ModelWorker, open_model_worker

HANG, DEAF = signal.SIGUSR2, signal.SIGUSR1
_hung = threading.Event()


class HangingGate(RowLimit):
    """Every row ticks at each of its steps; after the signal none comes back."""

    def tick(self) -> None:
        if _hung.is_set():
            threading.Event().wait()
        super().tick()


def _open(threads: int, settings: Settings) -> ModelWorker:
    """Logs which process a worker's id belongs to. Celery redirects what is printed otherwise."""
    model, row = model_of_worker(settings)
    worker = open_model_worker(settings, model, threads, row)
    print(f"\nchaos: worker {worker.worker} {os.getpid()}", file=sys.__stderr__, flush=True)
    return worker


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _listen(sender: Any, **_: Any) -> None:
    signal.signal(DEAF, lambda *_: sender.task_consumer.cancel())


app = process_app("sightline-worker", _open)
echo.RowLimit = HangingGate  # type: ignore[attr-defined]
signal.signal(HANG, lambda *_: _hung.set())
