"""The processors that torch may use, and which threads compute on them.

Each thread that computes on several processors gets helpers of its own from libgomp, which wait awake between
two operations. Once helpers of all threads together outnumber the processors they fall asleep at once, and to
wake them takes as long as an operation: two threads made a step no faster than one. So no thread beside that
of the engine that batches has any; `sequential` computes in the attempts' own, one after the other.
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
# "<microseconds> <of each>", or "max"; where there are control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def use_threads(wanted: int) -> None:
    """No more than this process has processors: threads that share one wait for each other all the time."""
    there = _processors()
    if wanted > there:
        log.warning("SIGHTLINE_WORKER__THREADS is %d, but only %d may be used", wanted, there)
    compute_on(min(wanted, there))


def compute_on(processors: int) -> None:
    """Of the calling thread, and of those that have not computed yet: they take over what was said last."""
    # A thread that computes for the first time takes over another's number, even if it has one of its own.
    torch.get_num_threads()
    torch.set_num_threads(processors)


def in_passing(work: Callable[[], T]) -> T:
    """Done by a thread that ends with it, and with it its helpers."""
    with ThreadPoolExecutor(1, "passing") as pool:
        return pool.submit(work).result()


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))
