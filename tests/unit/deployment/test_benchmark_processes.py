"""A benchmark leaves nothing behind that would compute while the next one runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.frame import services
from benchmarks.frame.services import Process, Services
from tests.support.clients import until
from tests.support.patience import PATIENCE_S

DEAF = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause()"
ENDS_ONCE = """
import pathlib, signal, sys
first = not pathlib.Path(sys.argv[1]).exists()
pathlib.Path(sys.argv[1]).touch()
sys.exit(3) if first else print("again", flush=True)
signal.pause()
"""
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


def test_a_benchmark_that_is_told_to_end_while_it_stops_its_servers_still_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STOP_LIMIT_S", 1)
    started = Services(tmp_path)
    children = [started.run(name, sys.executable, "-c", DEAF) for name in ("first", "second")]
    until(lambda: all(child.lines() == ["up"] for child in children))
    pids = [child.pid for child in children]
    stop = Process.stop

    def interrupted(process: Process) -> None:
        """As the handler of a signal that comes when the first one to stop has stopped."""
        stop(process)
        if process is children[1]:
            raise SystemExit(143)

    monkeypatch.setattr(Process, "stop", interrupted)
    with pytest.raises(SystemExit):
        started.stop_all()
    assert [child.pid for child in children] == [None, None]
    assert not any(is_running(pid) for pid in pids)


def test_a_process_that_ends_is_started_again_and_its_exit_code_is_known(tmp_path: Path) -> None:
    started = Services(tmp_path)
    argv = (sys.executable, "-c", ENDS_ONCE, str(tmp_path / "was-here"))
    child = started.run("child", *argv, restarts=True)
    try:
        until(lambda: child.lines() == ["again"])
        assert child.exits == [3]
    finally:
        started.stop_all()
    assert (child.pid, child.exits) == (None, [3])


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
