"""What a worker frees stays with it, and its memory is in large pages."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sightline.serving.processes import OWN_HEAP, heap

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROBE = """
import resource, threading

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
HELD = "import ctypes; ctypes.CDLL(None).malloc(2**26); print(open('/proc/self/smaps').read())"


def said(program: str, added: Mapping[str, str]) -> str:
    env = {name: value for name, value in os.environ.items() if name not in OWN_HEAP}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=110, env={**env, **added}
    ).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's")
def test_a_thread_asks_for_the_memory_of_its_tensors_once() -> None:
    """Told by the part of it that is asked for again each time, in pages that can be counted."""
    small = {name: value.replace("hugetlb=1", "hugetlb=0") for name, value in heap({}).items()}
    assert float(said(PROBE, {})) > 0.2
    assert float(said(PROBE, small)) < 0.05


def test_a_worker_s_memory_is_in_large_pages() -> None:
    """Its weights are read at every step: each page that is looked up costs time."""
    if not LARGE_PAGES.exists() or "[madvise]" not in LARGE_PAGES.read_text():
        pytest.skip("this system gives large pages to everybody or to nobody")
    if (platform.libc_ver()[0], float(platform.libc_ver()[1] or 0)) < ("glibc", 2.35):
        pytest.skip("this C library does not ask for large pages")
    assert re.search(r"^VmFlags:.* hg\b", said(HELD, heap({})), re.MULTILINE)
