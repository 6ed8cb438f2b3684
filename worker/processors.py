"""How many processors this process may use."""

import os
from pathlib import Path

# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))
