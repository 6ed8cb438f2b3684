"""The model worker: `python -m worker -A worker.app worker --pool=threads -c <rows + 2> -Q <lane>`."""

from typing import Any

from celery import signals

from shared.registry import chosen
from shared.settings import settings
from shared.store.nudges import TASK
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces
from worker.celery_app import make_app, opening
from worker.model_worker import Node, open_node

# Before Celery says its first word.
open_log(settings())
app = make_app("sightline-worker", settings().redis)
_node: list[Node] = []


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(lane: str) -> None:
    """Answer one nudge: attempt runs while any waits."""
    _node[0].work(lane)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _open(sender: Any, **_: Any) -> None:
    def start() -> None:
        open_traces(settings(), "sightline-worker")
        model, row = chosen(settings())
        _node.append(open_node(settings(), model, sender.concurrency, row))

    opening(start)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    if _node:
        _node[0].drain()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: Any) -> None:
    if _node:
        _node[0].close()
    close_traces()
