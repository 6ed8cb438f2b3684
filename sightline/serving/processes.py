"""The processes of the service as command lines, the same under `sightline run` and in containers.

`sightline api`, `sightline worker` and `sightline courier` become one of them, so that signals and exit codes
are the process's own.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from shared.errors import CallerError, Unavailable
from shared.models import Model
from shared.models_file import load_models
from shared.registry import chosen
from shared.settings import Settings, SettingsError, load_settings
from shared.store.keys import INTAKE
from shared.telemetry.traces import check_traces
from sightline.exits import CommandError, Exit
from sightline.serving.files import allow_files
from sightline.serving.heap import heap
from sightline.tls import check_tls, flags

# Each job with remote pictures has one while it is fetched, which a slow origin draws out to the limit.
COURIER_THREADS = 16
# Beyond a model's rows, so that the next pictures are prepared while every row is busy.
SPARE_THREADS = 2
# Of one API process: how long and how slow a request's head may be, its connections, and no protocol besides.
# A connection stays open longer than balancers (60 s) and clients (httpx 5 s) keep theirs unused: who closes
# first must be they, or a request is sent into a closing connection and has no answer.
LIMITS = (
    *("--http", "api.wire.protocol:LimitedProtocol", "--limit-concurrency", "2000", "--ws", "none"),
    *("--timeout-keep-alive", "75"),
)


@dataclass(frozen=True)
class Process:
    """What follows `python -m`, what its environment holds besides the settings, and its time to stop."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    env: Mapping[str, str] = field(default_factory=dict)


def api(settings: Settings, host: str, port: int) -> Process:
    argv = ("uvicorn", "--factory", "api.app:create_app", "--host", host, "--port", str(port))
    logs = ("--no-access-log", "--log-level", settings.log_level)
    tls = flags(settings.api)
    return Process("api", (*argv, *logs, *LIMITS, *tls, "--timeout-graceful-shutdown", "5"), grace_s=10)


def worker(settings: Settings, model: Model) -> Process:
    return Process(
        f"worker-{model.slug}",
        _celery(settings, "worker.app", model.slug, model.lane, model.rows + SPARE_THREADS),
        grace_s=settings.queue.drain_s + 5,
        env={
            "SIGHTLINE_WORKER__MODEL": model.id,
            "OMP_NUM_THREADS": str(settings.worker.threads),
            **heap(os.environ),
        },
    )


def courier(settings: Settings) -> Process:
    argv = _celery(settings, "worker.courier", "courier", INTAKE, COURIER_THREADS)
    return Process("courier", argv, grace_s=settings.queue.drain_s + 5)


def _celery(settings: Settings, app: str, node: str, lane: str, threads: int) -> tuple[str, ...]:
    argv = ("celery", "--quiet", "-A", app, "worker", "--pool=threads", "-c", str(threads), "-Q", lane)
    quiet = ("--without-gossip", "--without-mingle", f"--loglevel={settings.log_level}")
    return (*argv, "-n", f"{node}@%h", *quiet)


def become_api(host: str, port: int) -> NoReturn:
    """Raises CommandError where a setting or the models file is wrong."""
    settings = _settings()
    check_tls(settings.api)
    try:
        # Read for its faults: uvicorn would tell them as a traceback, and end as if its port were taken.
        load_models(settings.models_file)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _become(api(settings, host, port))


def become_worker() -> NoReturn:
    """The worker of the model that the settings name. Raises CommandError where there is none."""
    settings = _settings()
    try:
        model, _ = chosen(settings)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except CallerError as error:
        raise CommandError(Exit.USAGE, f"SIGHTLINE_WORKER__MODEL: {error.message}") from None
    except Unavailable as error:
        said = "No models file names this model, and added ones are told by SIGHTLINE_REDIS__URL"
        raise CommandError(Exit.REDIS, f"{said}: {error.message}") from None
    _become(worker(settings, model))


def become_courier() -> NoReturn:
    """Raises CommandError where a setting is wrong."""
    _become(courier(_settings()))


def _settings() -> Settings:
    try:
        settings = load_settings()
        check_traces(settings)
        return settings
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None


def _become(process: Process) -> NoReturn:
    allow_files()
    env = dict(os.environ) | dict(process.env)
    os.execve(sys.executable, (sys.executable, "-m", *process.argv), env)  # noqa: S606
