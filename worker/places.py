"""How many requests' pictures and sounds a worker prepares at the same time; callers take turns."""

import os
from pathlib import Path

from worker.processors import processors

# Bytes, or "max"; exists with control groups of version 2.
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")

# Each place may hold 50 MB of pixels, and a model's processor makes several times as much of them.
FEWEST, MOST = 2, 8
# One place for so many processors: the others are the model's, and those of other workers on the machine.
SHARE = 4
# One place for so much memory, of which it takes up to 250 MB.
EACH = 2 * 2**30


def places() -> int:
    return min(MOST, max(FEWEST, min(processors() // SHARE, _memory() // EACH)))


def _memory() -> int:
    """Bytes that this process may use."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = MEMORY_MAX.read_text().strip() if MEMORY_MAX.exists() else "max"
    return there if limit == "max" else min(there, int(limit))
