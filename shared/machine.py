"""What of this machine a process may use."""

import os
from pathlib import Path

# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
# Bytes, or "max"; exists with control groups of version 2.
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


def processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    present = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return present if quota == "max" else max(1, min(present, int(quota) // int(period)))


def memory_bytes() -> int:
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = MEMORY_MAX.read_text().strip() if MEMORY_MAX.exists() else "max"
    return present if limit == "max" else min(present, int(limit))
