"""A benchmark leaves nothing behind that would compute while the next one runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.frame import services
from benchmarks.frame.services import Services
from tests.support.clients import until
from tests.support.patience import PATIENCE_S

BENCHMARK = """
import asyncio, sys
from pathlib import Path
from benchmarks.frame import command
from benchmarks.frame.services import Services
command.end_on_sigterm()
services = Services(Path(sys.argv[1]))
child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
try:
    services.run("child", sys.executable, "-c", child)
    command.run(asyncio.Event().wait())
finally:
    services.stop_all()
"""


def test_a_server_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    started = Services(tmp_path)
    started.run("broken", sys.executable, "-c", "print('no such model')")
    with pytest.raises(services.NotStartedError, match="broken: no such model"):
        started.wait_until("http://127.0.0.1:9/ready", PATIENCE_S)


def test_a_benchmark_that_is_told_to_end_takes_along_what_it_started(tmp_path: Path) -> None:
    benchmark = subprocess.Popen((sys.executable, "-c", BENCHMARK, str(tmp_path)), cwd=services.ROOT)
    log = tmp_path / "child.log"
    try:
        child = int(until(lambda: log.exists() and log.read_text()))
        benchmark.terminate()
        assert benchmark.wait(PATIENCE_S) == 143
        assert not is_running(child)
    finally:
        benchmark.kill()
        benchmark.wait()


def is_running(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
