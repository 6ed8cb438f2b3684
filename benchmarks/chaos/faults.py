"""Carries a plan out, and notes what struck whom, when, and until when."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from benchmarks.chaos.plan import Fault
from benchmarks.chaos.site import Site
from benchmarks.supervised import Supervised

HANG, DEAF = signal.SIGUSR2, signal.SIGUSR1
"""See `benchmarks.chaos.worker`."""
AT_WORK = ("worker_paused", "worker_hung", "worker_cut_off", "worker_deaf", "replies_lost")
SUPERVISOR_S = 0.5
"""The record server is started again this long after it was killed, plus what the plan adds."""


@dataclass(frozen=True)
class Landed:
    """A fault that struck; times in Unix seconds. `pid` is None where the record server was hit."""

    kind: str
    name: str
    pid: int | None
    at: float
    until: float


class Saboteur:
    """One run's faults. `landed` grows while it runs; `missed` counts those that found nobody alive."""

    def __init__(self, site: Site) -> None:
        self.landed: list[Landed] = []
        self.missed = 0
        self._site = site
        self._store_is_hit = asyncio.Lock()
        self._strikes: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "worker_killed": lambda fault: self._signal(fault, site.workers, signal.SIGKILL),
            "worker_drained": lambda fault: self._signal(fault, site.workers, signal.SIGTERM),
            "worker_hung": lambda fault: self._signal(fault, site.workers, HANG),
            "worker_deaf": lambda fault: self._signal(fault, site.workers, DEAF),
            "worker_paused": lambda fault: self._pause(fault, site.workers),
            "worker_cut_off": lambda fault: self._strike_lines(fault, "cut"),
            "replies_lost": lambda fault: self._strike_lines(fault, "lose"),
            "courier_killed": lambda fault: self._signal(fault, site.couriers, signal.SIGKILL),
            "courier_paused": lambda fault: self._pause(fault, site.couriers),
            "api_killed": lambda fault: self._signal(fault, site.apis, signal.SIGKILL),
            "api_paused": lambda fault: self._pause(fault, site.apis),
            "redis_killed": lambda fault: self._hit_store(fault, self._kill_store),
            "redis_paused": lambda fault: self._hit_store(fault, self._pause_store),
            "redis_full": lambda fault: self._hit_store(fault, self._fill_store),
        }

    async def run(self, plan: Iterable[Fault], enough: asyncio.Event) -> None:
        """Until there is enough, and every fault that began has passed."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as strikes:
            for fault in plan:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(enough.wait(), max(0.0, began + fault.at_s - time.monotonic()))
                if enough.is_set():
                    return
                strikes.create_task(self._strike(fault))

    async def _strike(self, fault: Fault) -> None:
        await self._strikes[fault.kind](fault)

    def _victim(self, fault: Fault, among: list[Supervised]) -> Supervised | None:
        """The one the plan names, or the next one that lives; some faults seek one that works."""
        start = fault.victim % len(among)
        living = [x for x in among[start:] + among[:start] if x.pid is not None]
        if fault.kind in AT_WORK:
            living = [x for x in living if x.serves] or living
        self.missed += not living
        return living[0] if living else None

    def _note(self, fault: Fault, name: str, pid: int | None, at: float) -> None:
        self.landed.append(Landed(fault.kind, name, pid, at, time.time()))

    async def _signal(self, fault: Fault, among: list[Supervised], number: int) -> None:
        if victim := self._victim(fault, among):
            at, pid = time.time(), victim.pid
            victim.send(number)
            self._note(fault, victim.name, pid, at)

    async def _pause(self, fault: Fault, among: list[Supervised]) -> None:
        if victim := self._victim(fault, among):
            at, pid = time.time(), victim.pid
            victim.send(signal.SIGSTOP)
            await asyncio.sleep(fault.for_s)
            if victim.pid == pid:
                victim.send(signal.SIGCONT)
            self._note(fault, victim.name, pid, at)

    async def _strike_lines(self, fault: Fault, how: str) -> None:
        if victim := self._victim(fault, self._site.workers):
            at, pid = time.time(), victim.pid
            self._site.strike(self._site.workers.index(victim), how)
            self._note(fault, victim.name, pid, at)

    async def _hit_store(self, fault: Fault, strike: Callable[[Fault], Awaitable[None]]) -> None:
        """Strikes the store once at a time: a server that is down cannot be paused."""
        async with self._store_is_hit:
            at = time.time()
            await strike(fault)
            self._note(fault, "redis", None, at)

    async def _kill_store(self, fault: Fault) -> None:
        self._site.records.kill()
        await asyncio.sleep(SUPERVISOR_S + fault.for_s)
        await self._site.start_records()

    async def _pause_store(self, fault: Fault) -> None:
        os.kill(self._site.records.pid, signal.SIGSTOP)
        await asyncio.sleep(fault.for_s)
        os.kill(self._site.records.pid, signal.SIGCONT)

    async def _fill_store(self, fault: Fault) -> None:
        """Sets a memory limit below what the store holds: every write that needs memory is refused."""
        with self._site.records.client() as client:
            await asyncio.to_thread(client.config_set, "maxmemory", 1)
            await asyncio.sleep(fault.for_s)
            await asyncio.to_thread(client.config_set, "maxmemory", 0)
