"""Measure: processor time and memory of processes, and of the record server's main thread."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import psutil

REST_S, REST_SHARE, REST_LIMIT_S = 0.25, 0.1, 10.0


class Usage:
    """Of the processes with these ids and their descendants."""

    def __init__(self, roots: Iterable[int | None]) -> None:
        """Ids of processes that do not run at the moment are left out."""
        self._roots = [psutil.Process(pid) for pid in roots if pid is not None]

    def cpu_s(self) -> float:
        """User and system time since each process began; those that ended are in their parents' account."""
        return float(sum(sum(times[:4]) for times in self._each("cpu_times")))

    def rss_mb(self) -> float:
        """Resident memory in MB of a million bytes; pages that several processes share count for each."""
        return float(sum(memory.rss for memory in self._each("memory_info"))) / 1e6

    def wait_for_rest(self) -> None:
        """Until the server computes almost nothing: answers that callers left may go on for a while."""
        deadline = time.monotonic() + REST_LIMIT_S
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(REST_S)
            if self.cpu_s() - before < REST_SHARE * REST_S:
                return

    def _each(self, figure: str) -> Iterator[Any]:
        for root in self._roots:
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    yield getattr(process, figure)()


def thread_s(redis: Any) -> float:
    """Return processor time of the record server's main thread, which runs every command."""
    cpu = redis.info("cpu")
    return float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])
