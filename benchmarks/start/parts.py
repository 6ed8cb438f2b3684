"""The model worker, which prints when each part of its start ended. Started as
`python -m worker -A benchmarks.start.parts worker …`.
"""

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

STARTED = time.monotonic()

from celery import signals  # noqa: E402

from benchmarks.start import MARK  # noqa: E402
from shared.registry import model_of_worker  # noqa: E402
from shared.settings import Settings  # noqa: E402
from worker import model_worker  # noqa: E402
from worker.celery_app import process_app  # noqa: E402
from worker.heartbeat import Heartbeat  # noqa: E402
from worker.model_worker import ModelWorker, open_model_worker  # noqa: E402


def mark(part: str, moment: float | None = None) -> None:
    """The part that ended: all that was done since the mark before it."""
    # Celery redirects what is printed otherwise.
    print(f"\n{MARK}{moment or time.monotonic():.4f} {part}", file=sys.__stderr__, flush=True)


def marked(owner: Any, name: str, part: str, then: Callable[[], None] = lambda: None) -> None:
    """Marks each return of a function."""
    function = getattr(owner, name)

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        finally:
            mark(part)
            then()

    setattr(owner, name, call)


def _mark_load() -> None:
    """The engine is imported by now; before, importing it would hide what that takes."""
    from worker.engines.continuous import engine
    from worker.engines.loading import pretrained
    from worker.engines.loading.loaded import LoadedModel

    marked(pretrained, "_described", "config, processor")
    marked(pretrained, "_network", "weights")
    marked(LoadedModel, "__init__", "packing, fingerprint")
    marked(engine, "verify", "proof of batching")
    marked(engine.ContinuousEngine, "load", "cache, engine's thread")


def _open(threads: int, settings: Settings) -> ModelWorker:
    mark("Celery's start")
    model, row = model_of_worker(settings)
    worker = open_model_worker(settings, model, threads, row)
    mark("threads, listeners")
    return worker


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _consumes(**_: Any) -> None:
    mark("Celery consumes")


mark("process, Celery", STARTED)
mark("imports")
marked(Heartbeat, "start", "first heartbeat")
marked(model_worker, "create", "engine's imports", _mark_load)
marked(Heartbeat, "ready", "ready")
app = process_app("sightline-worker", _open)
