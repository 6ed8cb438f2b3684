"""Faults: drawn from a seed, carried out, noted; and how long the work that they interrupted waited."""

import asyncio
import contextlib
import random
import signal
import time
from bisect import bisect_right
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import psutil

from benchmarks.chaos.history import MODEL, Attempt, Story
from benchmarks.chaos.operations import Operations
from benchmarks.chaos.services import ChaosServices, reported
from benchmarks.frame.services import Process

PERIOD_S, FIRST_S = 1.0, 2.0
DECK = {
    "worker_killed": 8,
    "worker_paused": 5,
    "worker_drained": 4,
    "worker_hung": 4,
    "worker_cut_off": 4,
    "worker_deaf": 1,
    "decoder_killed": 4,
    "replies_lost": 4,
    "courier_killed": 5,
    "courier_paused": 2,
    "api_killed": 7,
    "api_paused": 2,
    "redis_killed": 1,
    "redis_paused": 1,
    "redis_full": 1,
    "redis_nearly_full": 1,
    "model_removed": 1,
    "burst": 1,
}
"""One round: every fifty-six faults have each kind this many times, in random order."""
DURATIONS = {
    "worker_paused": (1.2, 2.0),
    "courier_paused": (1.0, 6.0),
    "api_paused": (0.5, 3.0),
    "redis_killed": (0.0, 1.5),
    "redis_paused": (1.0, 6.0),
    "redis_full": (1.5, 3.5),
    "redis_nearly_full": (2.0, 4.0),
    "model_removed": (0.5, 2.0),
}
"""Shortest and longest in seconds; in leases for a paused worker, which must lose its own."""
SIGNALS = {
    "worker_killed": signal.SIGKILL,
    "worker_drained": signal.SIGTERM,
    "worker_hung": signal.SIGUSR2,
    "worker_deaf": signal.SIGUSR1,
    "courier_killed": signal.SIGKILL,
    "api_killed": signal.SIGKILL,
}
"""What the two user signals do to a worker: see `benchmarks.chaos.worker`."""
LINE_FAULTS = {"worker_cut_off": "deafen", "replies_lost": "lose"}
AT_WORK = ("worker_paused", "worker_hung", "worker_cut_off", "worker_deaf", "replies_lost")
"""Faults that seek a worker that serves."""
ROOM_BYTES = 2**16
"""What a nearly full store may still take."""
TRIES, PAUSE_S = 50, 0.1
"""How often a decoder is looked for, and the pause between two looks."""
SUPERVISOR_S = 0.5
"""The record server is started again this long after it was killed, plus what the plan adds."""
INTERRUPTED = ("worker_lost", "worker_draining", "store_unavailable", "engine_stalled", "claim_lost")
"""Outcomes of attempts that say nothing about the run: another attempt follows."""
DRAINING = ("worker_drained", "worker_hung")
"""Faults after which a worker gives back what it holds: one that hangs does so as it gives up."""
SLACK_S = 0.1
"""Largest difference between the benchmark's clock reading and the record server's."""
REACH_S = 10.0
"""How long a hung or cut-off worker may go on claiming before it notices."""


@dataclass(frozen=True)
class Fault:
    """`victim` is a number to choose the process by, `for_s` how long the fault lasts where it does."""

    at_s: float
    kind: str
    victim: int
    for_s: float = 0.0


@dataclass(frozen=True)
class InjectedFault:
    """A fault that struck; times in Unix seconds. `pid` is None if no process of the service was hit."""

    kind: str
    name: str
    pid: int | None
    at: float
    until: float


class Recovery(NamedTuple):
    """Seconds from a fault, or from an outage of the record store, to the claim that ended it.

    `after_restart`: the record store had restarted so recently that rescue held back.
    """

    seconds: float
    after_restart: bool


def plan(seed: int, count: int, lease_s: float) -> list[Fault]:
    """One fault in every period, anywhere in it."""
    dice = random.Random(seed)  # noqa: S311
    kinds: list[str] = []
    while len(kinds) < count:
        round_ = [kind for kind, times in DECK.items() for _ in range(times)]
        dice.shuffle(round_)
        kinds += round_
    return [_fault(dice, number, kind, lease_s) for number, kind in enumerate(kinds[:count])]


def _fault(dice: random.Random, number: int, kind: str, lease_s: float) -> Fault:
    at_s = FIRST_S + (number + dice.random()) * PERIOD_S
    for_s = dice.uniform(*DURATIONS[kind]) if kind in DURATIONS else 0.0
    if kind == "worker_paused":
        for_s *= lease_s
    return Fault(round(at_s, 3), kind, dice.randrange(1000), round(for_s, 3))


class FaultInjector:
    """One run's faults. `landed` grows while it runs; `decoders` are the processes that decoded pictures as a
    fault struck.
    """

    def __init__(self, services: ChaosServices, operations: Operations) -> None:
        self.landed: list[InjectedFault] = []
        self.decoders: set[psutil.Process] = set()
        self._services, self._operations = services, operations
        self._records = services.records
        self._store_is_hit = asyncio.Lock()

    async def run(self, plan: Iterable[Fault], enough: asyncio.Event) -> None:
        """Strike until there is enough, and return when every fault that began has passed."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as strikes:
            for fault in plan:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(enough.wait(), max(0.0, began + fault.at_s - time.monotonic()))
                if enough.is_set():
                    return
                strikes.create_task(self._strike(fault))

    async def _strike(self, fault: Fault) -> None:
        self.decoders.update(self._services.decoders())
        match fault.kind.partition("_")[0]:
            case "redis":
                # One at a time: a server that is down cannot be paused.
                async with self._store_is_hit:
                    await self._note(fault, "redis", None, self._strike_store(fault))
            case "model":
                await self._note(fault, MODEL, None, self._operations.remove_model(fault.for_s))
            case "burst":
                await self._note(fault, MODEL, None, self._operations.burst())
            case "decoder":
                await self._kill_decoder(fault)
            case kind:
                if victim := self._victim(fault, "worker" if kind == "replies" else kind):
                    await self._note(fault, victim.name, victim.pid, self._strike_process(fault, victim))

    async def _note(self, fault: Fault, name: str, pid: int | None, strike: Awaitable[None]) -> None:
        at = time.time()
        await strike
        self.landed.append(InjectedFault(fault.kind, name, pid, at, time.time()))

    def _victim(self, fault: Fault, kind: str) -> Process | None:
        """Return the one that the plan names, or the next one that runs; some faults seek one that serves."""
        processes = self._services.of_kind(kind)
        start = fault.victim % len(processes)
        running = [one for one in processes[start:] + processes[:start] if one.pid is not None]
        if fault.kind in AT_WORK:
            running = [one for one in running if one.pid in reported(one).values()] or running
        return running[0] if running else None

    async def _strike_process(self, fault: Fault, victim: Process) -> None:
        if fault.kind in SIGNALS:
            victim.send(SIGNALS[fault.kind])
        elif fault.kind in LINE_FAULTS:
            self._services.strike(victim.name, LINE_FAULTS[fault.kind])
        else:
            pid = victim.pid
            victim.send(signal.SIGSTOP)
            await asyncio.sleep(fault.for_s)
            if victim.pid == pid:
                victim.send(signal.SIGCONT)

    async def _kill_decoder(self, fault: Fault) -> None:
        """Kill one, at work or not; wait for the next one if there is none."""
        for _ in range(TRIES):
            if found := await asyncio.to_thread(self._services.decoders):
                with contextlib.suppress(psutil.Error):
                    found[fault.victim % len(found)].kill()
                self.landed.append(InjectedFault(fault.kind, "decoder", None, time.time(), time.time()))
                return
            await asyncio.sleep(PAUSE_S)

    async def _strike_store(self, fault: Fault) -> None:
        if fault.kind == "redis_killed":
            self._records.kill()
            await asyncio.sleep(SUPERVISOR_S + fault.for_s)
            await self._services.restart_records()
        elif fault.kind == "redis_paused":
            self._records.send(signal.SIGSTOP)
            await asyncio.sleep(fault.for_s)
            self._records.send(signal.SIGCONT)
        else:
            with self._records.client() as client:
                before = await asyncio.to_thread(_limit_memory, client, fault.kind)
                await asyncio.sleep(fault.for_s)
                await asyncio.to_thread(client.config_set, "maxmemory", before)


def _limit_memory(client: Any, kind: str) -> str:
    """Return the limit so far. Below what the server holds, every write that needs memory is refused; just
    above it, some still pass.
    """
    before, used = client.config_get("maxmemory")["maxmemory"], client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + ROOM_BYTES if kind == "redis_nearly_full" else 1)
    return str(before)


def explain(stories: Iterable[Story], landed: Iterable[InjectedFault]) -> None:
    """Note at each story whether a fault removed its model while it waited."""
    removals = [fault for fault in landed if fault.kind == "model_removed"]
    for story in stories:
        if story.life is not None:
            created, ended = story.life
            story.removed = any(
                created <= fault.until + SLACK_S and fault.at - SLACK_S <= ended for fault in removals
            )


def recoveries(
    stories: Iterable[Story], landed: Sequence[InjectedFault], pids: Mapping[str, int], lease_s: float
) -> list[Recovery]:
    """Return what ended each outage and each interrupted attempt; `pids` has the process of each worker."""
    # Each run's attempts once, however many questions shared it.
    runs = list(dict.fromkeys(story.attempts for story in stories if story.attempts))
    landed = sorted(landed, key=lambda x: x.at)
    outages = [x for x in landed if x.name == "redis"]
    rows = []
    # After each outage, the time from the record store's return until the first claim.
    claims = sorted(attempt.started_at for attempts in runs for attempt in attempts)
    for outage in outages:
        for claimed in claims[bisect_right(claims, outage.until) :][:1]:
            rows.append(_recovery(outage.until, claimed, outages, lease_s))
    for attempt, following in (pair for run in runs for pair in pairwise(run)):
        own = [x for x in landed if x.pid is not None and x.pid == pids.get(attempt.worker)]
        if attempt.outcome in INTERRUPTED and (cause := _cause(attempt, following, own, outages)):
            began = max(cause.until if cause in outages else cause.at, attempt.started_at)
            rows.append(_recovery(began, following.started_at, outages, lease_s))
    return rows


def _cause(
    attempt: Attempt, following: Attempt, own: Sequence[InjectedFault], outages: Sequence[InjectedFault]
) -> InjectedFault | None:
    """Return the first fault of its worker during the attempt, or the last one before it, or an outage."""
    drained = attempt.outcome == "worker_draining"
    causes = [x for x in own if (x.kind in DRAINING if drained else x.kind != "worker_drained")]
    fitting = [x for x in causes if x.at <= following.started_at]
    during = [x for x in fitting if x.at >= attempt.started_at - SLACK_S]
    before = [x for x in fitting if attempt.started_at - REACH_S <= x.at < attempt.started_at - SLACK_S]
    around = [x for x in outages if x.at <= following.started_at and x.until >= attempt.started_at - REACH_S]
    return next(iter(during or before[-1:] or around[-1:]), None)


def _recovery(began: float, claimed: float, outages: Sequence[InjectedFault], lease_s: float) -> Recovery:
    """Measure from the fault, or from the store's return if that was later."""
    began = max([began, *(x.until for x in outages if x.at <= claimed and began < x.until <= claimed)])
    restarts = [x.until for x in outages if x.kind == "redis_killed"]
    late = any(began - (2 * lease_s + 1) <= moment <= claimed for moment in restarts)
    return Recovery(round(claimed - began, 3), late)
