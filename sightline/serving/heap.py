"""How a worker's C library keeps memory: one heap for all threads, in large pages, which keeps what is freed.

A thread's own heap is made of pieces of 64 MB that go back to the kernel as they become free, and the first
thread's shrinks where twice its largest block is free: the engine would ask for the pages of its tensors
again at every pass, a tenth of its time in a virtual machine. And each step reads all weights, whose pages of
4 KiB a processor looks up one by one: another tenth there.
"""

from collections.abc import Mapping

# Who runs the worker may have settings of their own.
OWN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Of the GNU C Library's manual, "Memory Allocation Tunables". 32 MiB is what it allows at most: what is
# larger is asked of the kernel each time. 1 GiB may be free at the heap's end before it is given back.
TUNABLES = {
    "arena_max": 1,
    "mmap_threshold": 32 * 2**20,
    "trim_threshold": 2**30,
    # From 2.35 on; older ones read over it.
    "hugetlb": 1,
}


def heap(environ: Mapping[str, str]) -> dict[str, str]:
    """What is added to a worker's environment; other C libraries read over it."""
    if any(name in environ for name in OWN):
        return {}
    return {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())}
