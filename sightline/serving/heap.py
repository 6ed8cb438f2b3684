"""Settings of a worker's C library: one heap for all threads, in huge pages, that keeps freed memory.

By default a thread's own heap is made of pieces of 64 MB that go back to the kernel once they are free, and
the first thread's heap shrinks when twice its largest block is free. The engine would request the pages of
its tensors again at every pass: a tenth of its time in a virtual machine. And each step reads all weights,
whose 4 KiB pages the processor looks up one by one: another tenth there.
"""

from collections.abc import Mapping

# An operator's own settings take precedence.
OWN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# From the GNU C Library's manual, "Memory Allocation Tunables". 32 MiB is the most it allows: larger blocks
# are requested from the kernel each time. 1 GiB may be free at the heap's end before it is given back.
TUNABLES = {
    "arena_max": 1,
    "mmap_threshold": 32 * 2**20,
    "trim_threshold": 2**30,
    # From glibc 2.35 on; older ones ignore it.
    "hugetlb": 1,
}


def heap(environ: Mapping[str, str]) -> dict[str, str]:
    """Additions to a worker's environment; other C libraries ignore them."""
    if any(name in environ for name in OWN):
        return {}
    return {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())}
