"""`python -m worker.fork_server ENGINE …` imports what workers need, then forks one whenever it is asked to.

A request is a line of JSON on standard input, its answer a line on standard output. It ends with its input.
`multiprocessing`'s own server has no interface for the environment that a C library reads when it is loaded,
and none for a log and a session of its own.
"""

import json
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.stopping import STOPS
from worker.imports import uncollected

COMMON = (
    *("celery.__main__", "celery.apps.worker", "celery.bin.celery", "celery.bin.worker"),
    *("celery.app.amqp", "celery.app.log", "celery.backends.base", "celery.concurrency.thread"),
    *("celery.worker.consumer", "kombu.transport.redis", "shared.models_file", "worker.model_worker"),
)
"""None reads settings, opens a connection or starts a thread; `worker.app` does."""
AHEAD = (
    *("transformers.image_processing_utils", "transformers.modeling_layers", "transformers.processing_utils"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.processing_auto"),
)
"""What transformers imports only once a model is loaded, the same for every family; none touches a device."""
ENGINES = {
    "auto": (*AHEAD, "worker.engines.continuous.engine"),
    "continuous": (*AHEAD, "worker.engines.continuous.engine"),
    "sequential": (*AHEAD, "worker.engines.sequential"),
}
"""The others take no time, or look at the device when they are imported."""


def main(engines: Sequence[str]) -> None:
    # It ends with its input: a signal to all processes of a service is not to cut the workers' drains short.
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    preload(engines)
    signal.signal(signal.SIGCHLD, lambda *_: os.kill(os.getppid(), signal.SIGCHLD))
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            _answer(_exit_code(request["pid"]))
            continue
        if len([*Path("/proc/self/task").iterdir()]) > 1:
            # A fork would have none of these threads, and the locks that they hold for ever.
            _answer(None)
            continue
        try:
            forked = os.fork()
        except OSError as error:
            _answer(str(error))
            continue
        if not forked:
            _become(**request)
            break


def preload(engines: Sequence[str]) -> None:
    """What is not installed here, or broken, the worker itself will miss, and callers read why."""
    modules = *COMMON, *(module for engine in engines for module in ENGINES.get(engine, ()))
    with uncollected():
        for module in modules:
            with suppress(ImportError, OSError, RuntimeError):
                import_module(module)


def _exit_code(pid: int) -> int | None:
    """None while it runs, and where no process has ended."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(argv: Sequence[str], env: Mapping[str, str], cwd: str, log: str | None) -> None:
    """Become the process that `python -m` with these arguments would be."""
    for number in (signal.SIGCHLD, *STOPS):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    # By the child itself: from now on its group can be killed.
    _answer(os.getpid())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    _redirect(log)
    # What `ps` and `top` show: they would show the server's name.
    with suppress(OSError):
        Path("/proc/self/comm").write_text(argv[0], encoding="ascii")
    sys.argv = [*argv]
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _redirect(log: str | None) -> None:
    """Without a log, both outputs go where the server's errors go."""
    if log is not None:
        with Path(log).open("ab") as output:
            os.dup2(output.fileno(), 2)
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)


def _answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
