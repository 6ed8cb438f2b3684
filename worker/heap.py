"""One heap of glibc's for all threads of a worker, which keeps what they free."""

import ctypes
import os

# Of <malloc.h>; see mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# What glibc allows at most. What is larger is asked of the kernel each time.
LARGE = 32 * 2**20
# So much may be free at the heap's end before it is given back.
SPARE = 2**30
# Who runs the worker may have settings of their own.
OWN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def share_heap() -> None:
    """To be called before there is a second thread.

    A thread's own heap is made of pieces of 64 MB that go back to the kernel as they become free, and the
    first thread's shrinks where twice its largest block is free: the engine would ask for the pages of its
    tensors again at every pass, a tenth of its time in a virtual machine. Does nothing where the C library
    has no such settings, or the environment has others.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in OWN):
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, SPARE)
