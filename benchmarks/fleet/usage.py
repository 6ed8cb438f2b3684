"""Processor time of the record server and of the whole machine over a while."""

import time
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Spent:
    """In cores. `redis` is its main thread, which runs every command."""

    redis: float
    machine: float
    seconds: float


class Usage:
    """Counts from when it is made; `redis` is a client of the record server."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._began = self._now()

    def since(self) -> Spent:
        at, redis, machine = (after - before for after, before in zip(self._now(), self._began, strict=True))
        return Spent(redis / at, machine / at, at)

    def _now(self) -> tuple[float, float, float]:
        told = self._redis.info("cpu")
        redis = float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])
        times = psutil.cpu_times()
        return time.monotonic(), redis, sum(times) - times.idle - getattr(times, "iowait", 0.0)
