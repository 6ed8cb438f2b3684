"""A benchmark leaves nothing behind that would compute beside the next one."""

import signal
import sys
from pathlib import Path

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

    ended = children[1].wait

    def told(limit_s: float | None = None) -> int:
        """As the handler of a signal that comes while the first one to stop is waited for."""
        if limit_s is not None:
            raise SystemExit(143)
        return ended()

    monkeypatch.setattr(children[1], "wait", told)
    with pytest.raises(SystemExit):
        started.stop_all()
    assert [child.poll() for child in children] == [-signal.SIGKILL] * 2
