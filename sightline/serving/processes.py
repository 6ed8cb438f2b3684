"""The processes of the service as command lines, the same under `sightline run` and in containers.

`sightline api`, `sightline worker` and `sightline courier` become one of them, so that signals and exit codes
are the process's own.
"""

import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from shared import ROOT
from shared.errors import CallerError, Unavailable
from shared.models import Model
from shared.models_file import load_models
from shared.registry import model_of_worker
from shared.settings import BlobSettings, Settings, SettingsError, load_settings
from shared.stopping import hold_stops
from shared.store.keys import INTAKE
from shared.store.server import probe
from shared.telemetry.traces import check_traces
from sightline.exits import CommandError, Exit
from sightline.serving.heap import heap
from sightline.serving.interpreter import PYTHON, with_our_packages
from sightline.serving.open_files import allow_files
from sightline.serving.server import check_kind, check_rights
from sightline.tls import check_tls, flags

# A job with remote pictures occupies a thread while they are fetched: up to the time limit, if slow.
COURIER_THREADS = 16
# One API process speaks no protocol but HTTP. `UVICORN_HTTP` chooses the parser (docs/transport.md).
# An idle connection stays open longer than balancers (60 s) and clients (httpx 5 s) keep theirs: if this side
# closed first, a request could be sent into a closing connection and get no answer.
LIMITS = ("--ws", "none", "--timeout-keep-alive", "75")


@dataclass(frozen=True)
class Process:
    """`argv` follows `python -m`, `env` is added to the settings, `grace_s` is its time to stop."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    env: Mapping[str, str] = field(default_factory=dict)


def api(settings: Settings, host: str, port: int, most_s: float = math.inf) -> Process:
    """`most_s`: how long answers in progress may take at most, once it was asked to end."""
    # By default uvicorn imports from the working folder first.
    argv = ("uvicorn", "--app-dir", str(ROOT), "--factory", "api.app:create_app")
    address = ("--host", host, "--port", str(port))
    logs = ("--no-access-log", "--log-level", settings.log_level)
    tls, drain_s = flags(settings.api), min(settings.queue.drain_s, most_s)
    last = ("--timeout-graceful-shutdown", str(math.ceil(drain_s)))
    return Process("api", (*argv, *address, *logs, *LIMITS, *tls, *last), grace_s=drain_s + 5)


def worker(settings: Settings, model: Model, number: int = 1) -> Process:
    """`number` tells several workers of a model on one machine apart."""
    name = model.slug if number == 1 else f"{model.slug}-{number}"
    return Process(
        f"worker-{name}",
        _celery(settings, "worker.app", name, model.lane, model.threads),
        grace_s=settings.queue.drain_s + 5,
        env={"SIGHTLINE_WORKER__MODEL": model.id, **_at_load(settings)},
    )


def fork_server(settings: Settings, models: Iterable[Model]) -> Process:
    """Of workers with these models' engines."""
    engines = sorted({model.engine for model in models})
    return Process("fork-server", ("worker.fork_server", *engines), grace_s=0, env=_at_load(settings))


def _at_load(settings: Settings) -> dict[str, str]:
    """What a worker's libraries read when they are loaded.

    numpy's would start threads at once, which a fork has not; only torch computes.
    """
    threads = {"OMP_NUM_THREADS": str(settings.worker.threads), "OPENBLAS_NUM_THREADS": "1"}
    return threads | heap(os.environ)


def courier(settings: Settings) -> Process:
    argv = _celery(settings, "worker.courier", "courier", INTAKE, COURIER_THREADS)
    return Process("courier", argv, grace_s=settings.queue.drain_s + 5)


def _celery(settings: Settings, app: str, node: str, lane: str, threads: int) -> tuple[str, ...]:
    argv = ("worker", "--quiet", "-A", app, "worker", "--pool=threads", "-c", str(threads), "-Q", lane)
    quiet = ("--without-gossip", "--without-mingle", f"--loglevel={settings.log_level}")
    return (*argv, "-n", f"{node}@%h", *quiet)


def become_api(host: str, port: int) -> NoReturn:
    """Raises CommandError where a setting or the models file is wrong, or names an unfit server."""
    settings = settings_of_process()
    check_tls(settings.api)
    try:
        # Read here for its errors: uvicorn would print a traceback, and exit as if its port were taken.
        load_models(settings.models_file)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _become(api(settings, host, port))


def become_worker() -> NoReturn:
    """The worker of the model that the settings name. Raises CommandError where there is none."""
    settings = settings_of_process()
    try:
        model, _ = model_of_worker(settings)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except CallerError as error:
        raise CommandError(Exit.USAGE, f"SIGHTLINE_WORKER__MODEL: {error.message}") from None
    except Unavailable as error:
        message = "No models file has this model, and added ones are read from SIGHTLINE_REDIS__URL"
        raise CommandError(Exit.REDIS, f"{message}: {error.message}") from None
    hold_stops()
    _become(worker(settings, model))


def become_courier() -> NoReturn:
    """Raises CommandError where a setting is wrong, or names what can never serve."""
    process = courier(settings_of_process())
    hold_stops()
    _become(process)


def settings_of_process() -> Settings:
    """Raises CommandError where a setting is wrong, or names what can never serve."""
    try:
        settings = load_settings()
        check_traces(settings)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _make_blobs(settings.blobs)
    # An unreachable server passes here, and fails each call instead.
    with suppress(Unavailable):
        check_kind(probe(settings.redis.store_url))
        check_rights(settings.redis)
    return settings


def _make_blobs(blobs: BlobSettings) -> None:
    """Made here: a process would fail with a traceback, and a worker only once its model is loaded."""
    try:
        if blobs.folder is not None:
            blobs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder of SIGHTLINE_BLOBS__URL cannot be made: {error.filename}: {error.strerror}."
        raise CommandError(Exit.DATA, message) from None


def _become(process: Process) -> NoReturn:
    allow_files()
    env = with_our_packages(os.environ | dict(process.env))
    os.execve(PYTHON[0], (*PYTHON, "-m", *process.argv), env)  # noqa: S606
