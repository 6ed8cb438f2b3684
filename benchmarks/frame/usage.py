"""Measure: processor time and memory of processes, of the record server's main thread and of this machine."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class CoreShares:
    """In cores. `redis` is the record server's main thread, which runs every command."""

    redis: float
    machine: float
    seconds: float


class CoreUsage:
    """Counts from when it is made; `redis` is a client of the record server."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._began = self._now()

    def since(self) -> CoreShares:
        at, redis, machine = (after - before for after, before in zip(self._now(), self._began, strict=True))
        return CoreShares(redis / at, machine / at, at)

    def _now(self) -> tuple[float, float, float]:
        cpu = self._redis.info("cpu")
        redis = float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])
        times = psutil.cpu_times()
        return time.monotonic(), redis, sum(times) - times.idle - getattr(times, "iowait", 0.0)
