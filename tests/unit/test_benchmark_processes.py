"""A benchmark leaves nothing behind that would compute beside the next one."""

import signal
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from benchmarks import processes
from benchmarks.processes import Processes
from tests.support.clients import until

DEAF = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause()"


def test_a_benchmark_that_is_told_to_end_while_it_stops_its_servers_still_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_LIMIT_S", 1)
    started = Processes(tmp_path)
    for name in ("first", "second"):
        started.start(name, sys.executable, "-c", DEAF, env={})
    children = list(started.processes.values())
    until(lambda: all(started.log(name).read_text() == "up\n" for name in started.processes))

    def told(*_: object) -> NoReturn:
        raise SystemExit(143)

    def told_meanwhile() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        started.stop_all()

    before = signal.signal(signal.SIGALRM, told)
    try:
        with pytest.raises(SystemExit):
            told_meanwhile()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [child.poll() for child in children] == [-signal.SIGKILL] * 2
