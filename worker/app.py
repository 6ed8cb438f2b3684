"""The model worker: `python -m worker -A worker.app worker --pool=threads -c <rows + 2> -Q <lane>`."""

from typing import Any

from celery import signals

from shared.registry import model_of_worker
from shared.settings import settings
from shared.store.nudges import TASK
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces
from worker.celery_app import make_app, start_or_exit
from worker.model_worker import ModelWorker, open_model_worker

# Before Celery logs its first line.
open_log(settings())
app = make_app("sightline-worker", settings().redis)
_worker: list[ModelWorker] = []


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(lane: str) -> None:
    """Answer one nudge: attempt runs while any waits."""
    _worker[0].work(lane)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _open(sender: Any, **_: Any) -> None:
    def start() -> None:
        open_traces(settings(), "sightline-worker")
        model, row = model_of_worker(settings())
        _worker.append(open_model_worker(settings(), model, sender.concurrency, row))

    start_or_exit(start)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    if _worker:
        _worker[0].drain()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: Any) -> None:
    if _worker:
        _worker[0].close()
    close_traces()
