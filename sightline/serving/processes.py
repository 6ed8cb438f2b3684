"""The processes of the service as command lines, the same under `sightline run` and in containers.

`sightline api`, `sightline worker` and `sightline courier` become one of them, so that signals and exit codes
are the process's own.
"""

import math
import os
import resource
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from shared import ROOT
from shared.errors import Unavailable
from shared.models import Model
from shared.settings import Settings, SettingsError, load_settings
from shared.store.keys import INTAKE
from shared.store.server import probe
from shared.telemetry.traces import check_traces
from sightline.exits import CommandError, Exit
from sightline.serving.server import check_kind, check_rights
from sightline.tls import flags

COURIER_THREADS = 16
LIMITS = ("--http", "h11", "--ws", "none", "--timeout-keep-alive", "75")
"""An API speaks no protocol but HTTP. h11 bounds a request's head and reads the body of a client that offers
HTTP/2; uvicorn's other parser does neither. An idle connection stays open longer than balancers (60 s) and
clients (httpx 5 s) keep theirs: if this side closed first, a request could be sent into a closing connection.
"""
ENOUGH_FILES = 10_240
"""For an API's 8000 callers, its connections to the record store, and pictures; macOS grants no more."""
FEWEST_FILES = 512
"""Below this a crowd of callers uses up the files that processes need to reach each other."""
OWN_HEAP = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""An operator's own settings of the heap take precedence."""
TUNABLES = {
    "arena_max": 1,
    # The most that glibc allows: larger blocks are requested from the kernel each time.
    "mmap_threshold": 32 * 2**20,
    # As much may be free at the heap's end before it is given back.
    "trim_threshold": 2**30,
    # From glibc 2.35 on; older ones ignore it.
    "hugetlb": 1,
}
"""One heap for all threads, in huge pages, that keeps freed memory ("Memory Allocation Tunables" of the GNU C
Library's manual). By default the engine would request the pages of its tensors again at every pass, and look
up the 4 KiB pages of all weights at every step: a tenth of its time each.
"""


@dataclass(frozen=True)
class Process:
    """`argv` follows `python -m`, `env` is added to the settings, `grace_s` is its time to stop."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    env: Mapping[str, str] = field(default_factory=dict)


def api(settings: Settings, host: str, port: int, most_s: float = math.inf) -> Process:
    """Return the API's process; after a signal to end, its answers may take `most_s` at most."""
    # By default uvicorn imports from the working folder first.
    argv = ("uvicorn", "--app-dir", str(ROOT), "--factory", "api.app:create_app")
    address = ("--host", host, "--port", str(port))
    logs = ("--no-access-log", "--log-level", settings.log_level)
    tls, drain_s = flags(settings.api), min(settings.queue.drain_s, most_s)
    last = ("--timeout-graceful-shutdown", str(math.ceil(drain_s)))
    return Process("api", (*argv, *address, *logs, *LIMITS, *tls, *last), grace_s=drain_s + 5)


def worker(settings: Settings, model: Model, number: int = 1) -> Process:
    """Return a worker's process; `number` tells several workers of a model on one machine apart."""
    name = model.slug if number == 1 else f"{model.slug}-{number}"
    return Process(
        f"worker-{name}",
        _celery(settings, "worker.app", name, model.lane, model.threads),
        grace_s=settings.queue.drain_s + 5,
        env={"SIGHTLINE_WORKER__MODEL": model.id, **_at_load(settings)},
    )


def fork_server(settings: Settings, models: Iterable[Model]) -> Process:
    """Return the fork server of workers with these models' engines."""
    engines = sorted({model.engine for model in models})
    return Process("fork-server", ("worker.fork_server", *engines), grace_s=0, env=_at_load(settings))


def _at_load(settings: Settings) -> dict[str, str]:
    """Return what a worker's libraries read when they are loaded.

    numpy's would start threads at once, which a fork lacks; only torch computes.
    """
    threads = {"OMP_NUM_THREADS": str(settings.worker.threads), "OPENBLAS_NUM_THREADS": "1"}
    return threads | heap(os.environ)


def heap(environ: Mapping[str, str]) -> dict[str, str]:
    """Return additions to a worker's environment; other C libraries ignore them."""
    if any(name in environ for name in OWN_HEAP):
        return {}
    return {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())}


def allow_files() -> int:
    """Raise the limit on open files of this process and those that it starts; return the new limit.

    Each connection is one. Most systems start programs with 256 or 1024, and let each raise it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(ENOUGH_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    # A sandbox may enforce a limit that it does not report.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft


def courier(settings: Settings) -> Process:
    argv = _celery(settings, "worker.courier", "courier", INTAKE, COURIER_THREADS)
    return Process("courier", argv, grace_s=settings.queue.drain_s + 5)


def _celery(settings: Settings, app: str, node: str, lane: str, threads: int) -> tuple[str, ...]:
    argv = ("worker", "--quiet", "-A", app, "worker", "--pool=threads", "-c", str(threads), "-Q", lane)
    quiet = ("--without-gossip", "--without-mingle", f"--loglevel={settings.log_level}")
    return (*argv, "-n", f"{node}@%h", *quiet)


def settings_of_process() -> Settings:
    """Read the settings. Raises CommandError if one is wrong, or names what can never serve."""
    try:
        settings = load_settings()
        check_traces(settings)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    # A process would fail with a traceback, and a worker only once its model is loaded.
    try:
        if settings.blobs.folder is not None:
            settings.blobs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder of SIGHTLINE_BLOBS__URL cannot be made: {error.filename}: {error.strerror}."
        raise CommandError(Exit.DATA, message) from None
    # An unreachable server passes here, and fails each call instead.
    with suppress(Unavailable):
        check_kind(probe(settings.redis.store_url))
        check_rights(settings.redis)
    return settings
