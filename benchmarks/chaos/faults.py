"""Faults: drawn from a seed, carried out, noted; and how long the work that they interrupted waited."""

import asyncio
import contextlib
import random
import signal
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import psutil

from benchmarks.chaos.history import MODEL, Attempt, Story
from benchmarks.chaos.operations import Operations
from benchmarks.chaos.services import ChaosServices
from benchmarks.frame.services import Process

T = TypeVar("T")

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
    "node_paused": (1.0, 6.0),
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
    "node_killed": signal.SIGKILL,
    "node_drained": signal.SIGTERM,
}
"""What the two user signals do to a worker: see `benchmarks.chaos.worker`."""
LINE_FAULTS = {"worker_cut_off": "deafen", "replies_lost": "lose"}
AT_WORK = ("worker_paused", "worker_hung", "worker_cut_off", "worker_deaf", "replies_lost")
"""Faults that seek a worker that serves."""
CHILD_FAULTS = ("decoder_killed", "copy_killed", "loading_killed", "leaving_killed", "fork_server_killed")
"""Faults that hit a process which one of ours has started."""
OPERATIONS = ("model_removed", "burst")
"""Faults that hit no process: see `benchmarks.chaos.operations`."""
ROOM_BYTES = 2**16
"""What a nearly full store may still take."""
TRIES, PAUSE_S = 50, 0.1
"""How often a child is looked for, and the pause between two looks."""
REPORT = "chaos: "
"""How a line begins that a worker writes for the benchmark."""
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


@dataclass(frozen=True)
class Recovery:
    """One interrupted attempt, or one outage of the record store, and the claim that ended it.

    `after_restart`: the record store had restarted so recently that rescue held back.
    """

    kind: str
    seconds: float
    after_restart: bool


def plan(seed: int, count: int, lease_s: float, deck: Mapping[str, int] = DECK) -> list[Fault]:
    """One fault in every period, anywhere in it."""
    dice = random.Random(seed)  # noqa: S311
    kinds: list[str] = []
    while len(kinds) < count:
        round_ = [kind for kind, times in deck.items() for _ in range(times)]
        dice.shuffle(round_)
        kinds += round_
    return [_fault(dice, number, kind, lease_s) for number, kind in enumerate(kinds[:count])]


def _fault(dice: random.Random, number: int, kind: str, lease_s: float) -> Fault:
    at_s = FIRST_S + (number + dice.random()) * PERIOD_S
    for_s = dice.uniform(*DURATIONS[kind]) if kind in DURATIONS else 0.0
    if kind == "worker_paused":
        for_s *= lease_s
    return Fault(round(at_s, 3), kind, dice.randrange(1000), round(for_s, 3))


def serves(worker: Process) -> bool:
    """Whether it has reported its number since it came up."""
    reports = (line for line in worker.lines() if line.startswith(f"{REPORT}worker "))
    return any(line.endswith(f" {worker.pid}") for line in reports)


class FaultInjector:
    """One run's faults. `landed` grows while it runs; `missed` counts those that found nobody alive.

    `children` are the processes that ours had started as a fault struck.
    """

    def __init__(self, services: ChaosServices, operations: Operations) -> None:
        self.landed: list[InjectedFault] = []
        self.missed = 0
        self.children: set[psutil.Process] = set()
        self._services, self._operations = services, operations
        self._records = services.records
        self._store_is_hit = asyncio.Lock()

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
        self.children.update(self._services.children())
        if fault.kind.startswith("redis"):
            # One at a time: a server that is down cannot be paused.
            async with self._store_is_hit:
                at = time.time()
                await self._strike_store(fault.kind, fault.for_s)
                self.landed.append(InjectedFault(fault.kind, "redis", None, at, time.time()))
        elif fault.kind in OPERATIONS:
            await self._operate(fault)
        elif fault.kind in CHILD_FAULTS:
            await self._kill_child(fault)
        elif victim := self._victim(fault):
            at, pid = time.time(), victim.pid
            await self._strike_process(fault, victim)
            self.landed.append(InjectedFault(fault.kind, victim.name, pid, at, time.time()))

    def _victim(self, fault: Fault) -> Process | None:
        """The one the plan names, or the next one that runs; some faults seek one that works."""
        kind = fault.kind.partition("_")[0]
        processes = self._services.of_kind("worker" if kind == "replies" else kind)
        start = fault.victim % len(processes)
        running = [one for one in processes[start:] + processes[:start] if one.pid is not None]
        if fault.kind in AT_WORK:
            running = [one for one in running if serves(one)] or running
        self.missed += not running
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

    async def _kill_child(self, fault: Fault) -> None:
        """At work or not; the next one where none is there now."""
        for _ in range(TRIES):
            if found := await asyncio.to_thread(self._services.children, fault.kind):
                with contextlib.suppress(psutil.Error):
                    found[fault.victim % len(found)].kill()
                self.landed.append(InjectedFault(fault.kind, "child", None, time.time(), time.time()))
                return
            await asyncio.sleep(PAUSE_S)
        self.missed += 1

    async def _operate(self, fault: Fault) -> None:
        at = time.time()
        if fault.kind == "model_removed":
            await self._operations.remove_model(fault.for_s)
        else:
            await self._operations.burst()
        self.landed.append(InjectedFault(fault.kind, MODEL, None, at, time.time()))

    async def _strike_store(self, kind: str, for_s: float) -> None:
        if kind == "redis_killed":
            self._records.kill()
            await asyncio.sleep(SUPERVISOR_S + for_s)
            await self._services.restart_records()
        elif kind == "redis_paused":
            self._records.send(signal.SIGSTOP)
            await asyncio.sleep(for_s)
            self._records.send(signal.SIGCONT)
        else:
            before = await self._with_client(lambda client: _limit_memory(client, kind))
            await asyncio.sleep(for_s)
            await self._with_client(lambda client: client.config_set("maxmemory", before))

    async def _with_client(self, act: Callable[[Any], T]) -> T:
        with self._records.client() as client:
            return await asyncio.to_thread(act, client)


def _limit_memory(client: Any, kind: str) -> str:
    """The limit so far. Below what the server holds, every write that needs memory is refused; just above it,
    some still pass."""
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
    """`pids` says which process a worker's id named."""
    runs = attempts_of_runs(stories)
    landed = sorted(landed, key=lambda x: x.at)
    outages = [x for x in landed if x.name == "redis"]
    by_pid: dict[int | None, list[InjectedFault]] = defaultdict(list)
    for fault in landed:
        by_pid[fault.pid].append(fault)
    # After each outage, the time from the record store's return until the first claim.
    claims = sorted(attempt.started_at for attempts in runs for attempt in attempts)
    following_claims = ((one, bisect_right(claims, one.until)) for one in outages)
    rows = [
        _recovery(one.kind, one.until, claims[at], outages, lease_s)
        for one, at in following_claims
        if at < len(claims)
    ]
    for attempt, following in (pair for run in runs for pair in pairwise(run)):
        own = by_pid[pids.get(attempt.worker, 0)]
        if attempt.outcome in INTERRUPTED and (cause := _cause(attempt, following, own, outages)):
            began = max(cause.until if cause in outages else cause.at, attempt.started_at)
            rows.append(_recovery(cause.kind, began, following.started_at, outages, lease_s))
    return rows


def attempts_of_runs(stories: Iterable[Story]) -> list[tuple[Attempt, ...]]:
    """Each run's attempts once, however many jobs shared it."""
    return list(dict.fromkeys(story.attempts for story in stories if story.attempts))


def _cause(
    attempt: Attempt, following: Attempt, own: Sequence[InjectedFault], outages: Sequence[InjectedFault]
) -> InjectedFault | None:
    """The first fault of its own worker during the attempt, else the last one before it, else an outage."""
    drained = attempt.outcome == "worker_draining"
    causes = [x for x in own if (x.kind in DRAINING if drained else x.kind != "worker_drained")]
    fitting = [x for x in causes if x.at <= following.started_at]
    during = [x for x in fitting if x.at >= attempt.started_at - SLACK_S]
    before = [x for x in fitting if attempt.started_at - REACH_S <= x.at < attempt.started_at - SLACK_S]
    around = [x for x in outages if x.at <= following.started_at and x.until >= attempt.started_at - REACH_S]
    return next(iter(during or before[-1:] or around[-1:]), None)


def _recovery(
    kind: str, began: float, claimed: float, outages: Sequence[InjectedFault], lease_s: float
) -> Recovery:
    """Measures from the fault, or from the store's return where that was later."""
    began = max([began, *(x.until for x in outages if x.at <= claimed and began < x.until <= claimed)])
    restarts = [x.until for x in outages if x.kind == "redis_killed"]
    late = any(began - (2 * lease_s + 1) <= moment <= claimed for moment in restarts)
    return Recovery(kind, round(claimed - began, 3), late)
