"""Processors and memory that a process may use: of its control group (a container), or of the machine."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# "<quota> <period>" in microseconds, or "max <period>"; exists with control groups of version 2.
CPU = ("cpu.max",)
# Bytes, with control groups of version 2, and of version 1.
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
USED = ("memory.current", "memory/memory.usage_in_bytes")
STAT = ("memory.stat", "memory/memory.stat")
UNLIMITED = 2**63


def processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    present = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = (int(word) for word in _content(CPU).split())
    except (OSError, ValueError):
        return present
    return max(1, min(present, quota // period))


def memory_bytes() -> int:
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limit_bytes())


def free_memory_bytes(*, swap: bool) -> int:
    """What may still be taken; `swap`: with what the machine can move to its disk for it."""
    # Here, because it takes 10 ms, and every command of `sightline` reads settings that need this module.
    import psutil

    memory = psutil.virtual_memory()
    free = int(memory.available)
    if swap:
        # macOS makes room by compressing, and files for swap as it needs them: all but what is wired.
        compressible = memory.total - getattr(memory, "wired", memory.total)
        free = max(free + psutil.swap_memory().free, compressible)
    return min(free, _left_bytes())


def _left_bytes() -> int:
    """What a container's limit leaves; the page cache counts as free, since it can be given back."""
    try:
        used = int(_content(USED))
        stat = dict(line.split() for line in _content(STAT).splitlines())
        cache = int(stat["inactive_file"]) + int(stat["active_file"])
    except (OSError, KeyError, ValueError):
        return UNLIMITED
    return max(0, _limit_bytes() - used + cache)


def _limit_bytes() -> int:
    try:
        return int(_content(LIMIT))
    except (OSError, ValueError):
        return UNLIMITED


def _content(names: tuple[str, ...]) -> str:
    """The content of the first of these files that exists. Raises OSError where none does."""
    paths = [CGROUP / name for name in names]
    return next((path for path in paths if path.exists()), paths[-1]).read_text()
