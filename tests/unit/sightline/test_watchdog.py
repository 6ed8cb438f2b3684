"""No process of the service outlives a supervisor that was killed."""

import subprocess
import sys

import psutil

from sightline.serving.watchdog import Watchdog, survivors
from tests.support.patience import PATIENCE_S

DEADLINE_S = PATIENCE_S


def test_processes_left_over_are_those_not_taken_back_newest_first() -> None:
    assert survivors(["+10\n", "+11\n", "-10\n", "+12\n", "+13\n", "-13\n"]) == [12, 11]


def test_killed_supervisor_takes_its_processes_with_it() -> None:
    sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(sleeper, start_new_session=True) as kept:
        with subprocess.Popen(sleeper, start_new_session=True) as left:
            watchdog = Watchdog(grace_s=0.2)
            watchdog.add(kept.pid)
            watchdog.add(left.pid)
            watchdog.remove(kept.pid)
            psutil.Process(watchdog._process.pid).suspend()

            watchdog.close()

            assert left.wait(DEADLINE_S) < 0
        assert kept.poll() is None
        kept.kill()
