"""The processors that torch may use."""

import logging
import os
from pathlib import Path

import torch

log = logging.getLogger(__name__)
# "<microseconds> <of each>", or "max"; where there are control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def use_threads(wanted: int) -> None:
    """No more than this process has processors: threads that share one wait for each other all the time."""
    there = _processors()
    if wanted > there:
        log.warning("SIGHTLINE_WORKER__THREADS is %d, but only %d may be used", wanted, there)
    torch.set_num_threads(min(wanted, there))


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))
