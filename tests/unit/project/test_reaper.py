"""A test run that is killed leaves no servers behind on a developer's machine."""

import os
import signal
import subprocess
import sys

from tests.support.clients import until
from tests.support.processes import ROOT, alive

PARENT = """
import subprocess, sys, time
from tests.support.reaper import watch

ends = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
stays = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
watch(ends.pid)
watch(stays.pid)()
print(ends.pid, stays.pid, flush=True)
time.sleep(600)
"""


def test_a_server_ends_with_the_tests_that_started_it_however_these_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        ends, stays = map(int, parent.stdout.readline().split())
        parent.kill()
    until(lambda: not alive(ends))
    assert alive(stays)
    os.kill(stays, signal.SIGKILL)
