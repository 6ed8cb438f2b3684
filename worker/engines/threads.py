"""Sets how many processors torch uses, and which threads compute on several.

libgomp gives each thread that computes on several processors helper threads of its own, which spin between
two operations. Once all helpers together outnumber the processors they sleep instead, and waking them takes
as long as an operation: two threads made a step no faster than one. So only the thread of the batching engine
has helpers; `sequential` computes in the attempts' threads, one after the other.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

log = logging.getLogger(__name__)
# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def use_threads(wanted: int) -> None:
    """At most one thread per processor: threads that share one keep waiting for each other."""
    there = _processors()
    if wanted > there:
        log.warning("SIGHTLINE_WORKER__THREADS is %d, but only %d may be used", wanted, there)
    compute_on(min(wanted, there))


def compute_on(processors: int) -> None:
    """For the calling thread, and for threads that have not computed yet, which adopt the last number set."""
    # A thread that computes for the first time adopts the last number set; this call makes it do so before.
    torch.get_num_threads()
    torch.set_num_threads(processors)


def in_passing(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, whose helpers end with it."""
    with ThreadPoolExecutor(1, "passing") as pool:
        return pool.submit(work).result()


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))
