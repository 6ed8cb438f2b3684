"""What a worker frees stays with it."""

import os
import platform
import subprocess
import sys

import pytest

from worker.heap import OWN

PROBE = """
import resource, sys, threading
from worker.heap import share_heap

if sys.argv[1] == "shared":
    share_heap()
SIZE, BLOCKS, faults = 8 << 20, 12, []

def work():
    for _ in range(21):
        [bytearray(SIZE) for _ in range(BLOCKS)]
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

one = threading.Thread(target=work)
one.start()
one.join()
print((faults[-1] - faults[0]) * resource.getpagesize() / 20 / SIZE / BLOCKS)
"""


def taken_anew(heap: str, **own: str) -> float:
    """The part of its memory that a thread asks the kernel for again each time."""
    env = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, heap],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
        env=env | own,
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's")
def test_a_thread_asks_for_the_memory_of_its_tensors_once() -> None:
    assert taken_anew("each its own") > 0.2
    assert taken_anew("shared") < 0.05


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's")
def test_settings_of_who_runs_the_worker_stand() -> None:
    assert taken_anew("shared", MALLOC_TRIM_THRESHOLD_="131072") > 0.2
