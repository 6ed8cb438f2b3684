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

from worker import app as product
from worker.engines import echo
from worker.engines.row_limit import RowLimit

HANG, DEAF = signal.SIGUSR2, signal.SIGUSR1
app = product.app
_hung = threading.Event()


class HangingGate(RowLimit):
    """Every row ticks at each of its steps; after the signal none comes back."""

    def tick(self) -> None:
        if _hung.is_set():
            threading.Event().wait()
        super().tick()


@signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _introduce(**_: Any) -> None:
    """Logs which process a worker's id belongs to. Celery redirects what is printed otherwise."""
    line = f"\nchaos: worker {product._worker[0].worker} {os.getpid()}"
    print(line, file=sys.__stderr__, flush=True)


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _listen(sender: Any, **_: Any) -> None:
    signal.signal(DEAF, lambda *_: sender.task_consumer.cancel())


echo.RowLimit = HangingGate  # type: ignore[attr-defined]
signal.signal(HANG, lambda *_: _hung.set())
