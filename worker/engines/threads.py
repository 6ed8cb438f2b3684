"""Sets how many processors torch uses, and which threads compute on several.

libgomp gives each thread that computes on several processors helper threads of its own, which spin between
two operations. Once all helpers together outnumber the processors they sleep instead, and waking them takes
as long as an operation: two threads made a step no faster than one. So only the thread of the batching engine
has helpers; `sequential` computes in the attempts' threads, one after the other.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from worker.processors import processors

T = TypeVar("T")

log = logging.getLogger(__name__)


def use_threads(wanted: int) -> None:
    """At most one thread per processor: threads that share one keep waiting for each other."""
    there = processors()
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
