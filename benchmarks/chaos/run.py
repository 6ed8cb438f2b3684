"""One run: the service started, questions asked at a rate, a fault every second, the verdict."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.chaos import site
from benchmarks.chaos.checker import Verdict, judge
from benchmarks.chaos.client import Client
from benchmarks.chaos.faults import Landed, Saboteur
from benchmarks.chaos.history import History, Story
from benchmarks.chaos.plan import plan
from benchmarks.chaos.questions import questions
from benchmarks.chaos.reading import read_all
from benchmarks.chaos.recovery import Recoveries, recoveries

PATIENCE_S = 60.0
"""After the last fault: when no job has ended for so long, those that have not are stuck."""
OPEN_AT_ONCE = 300
"""Questions that may be open at once; more would only wait in line."""
TOLD_EVERY_S = 10.0
KEPT = 8
TIMEOUT = httpx.Timeout(30, connect=5)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What one run was and came to. `refused` counts late writes that the store refused, by script."""

    seed: int
    history: History
    verdict: Verdict
    landed: Sequence[Landed]
    missed: int
    recoveries: Recoveries
    refused: Counter[str]
    exits: Counter[str]
    valkey: str
    fire_s: float
    wall_s: float


async def run(jobs: int, rate: float, seed: int, say: Say) -> Outcome:
    """Ask `jobs` questions, `rate` a second, while faults strike."""
    async with site.opened() as opened, _http(0) as http, _http(KEPT) as quiet:
        say(f"everything serves: {jobs} jobs at {rate:g} a second, seed {seed}")
        began = time.monotonic()
        history = History([Story(question) for question in questions(seed, jobs)])
        saboteur = Saboteur(opened)
        asked = asyncio.Event()
        questioning = _ask_all(http, opened, history, rate, asked)
        async with _beside(questioning) as asking, _beside(_tell(history, saboteur, say)):
            await saboteur.run(plan(seed, jobs, site.QUEUE["lease_s"]), asked)
            fire_s = time.monotonic() - began
            say(f"the last fault has passed; {_unended(history)} questions have no answer yet")
            await _while_any_ends(asking, history)
        say("the last reading")
        await read_all(quiet, opened.urls, history)
        return Outcome(
            seed=seed,
            history=history,
            verdict=judge(history),
            landed=tuple(saboteur.landed),
            missed=saboteur.missed,
            recoveries=recoveries(history.stories, saboteur.landed, _pids(opened), site.QUEUE["lease_s"]),
            refused=_refused(opened),
            exits=_exits(opened),
            valkey=_valkey(opened),
            fire_s=fire_s,
            wall_s=time.monotonic() - began,
        )


def _http(kept: int) -> httpx.AsyncClient:
    """A client; under fire it keeps no connection, whose other end may have been killed."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept)
    return httpx.AsyncClient(limits=limits, timeout=TIMEOUT, trust_env=False)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ask_all(
    http: httpx.AsyncClient, opened: site.Site, history: History, rate: float, asked: asyncio.Event
) -> None:
    """Asks at a rate, and slower while too many questions are open."""
    room = asyncio.Semaphore(OPEN_AT_ONCE)
    name, began = secrets.token_hex(4), time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number, story in enumerate(history.stories):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await room.acquire()
            client = clients.create_task(Client(http, opened.urls, story, name, opened.picture).run())
            client.add_done_callback(lambda _: room.release())
        asked.set()


async def _while_any_ends(asking: asyncio.Task[None], history: History) -> None:
    """Until all have their answers, or none came for PATIENCE_S; questions without one are stuck."""
    left = _unended(history) + 1
    while not asking.done() and _unended(history) < left:
        left = _unended(history)
        await asyncio.wait({asking}, timeout=PATIENCE_S)
    if asking.done():
        asking.result()


async def _tell(history: History, saboteur: Saboteur, say: Say) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        ended = sum(story.ended_at is not None for story in history.stories)
        say(f"{ended} ended, {len(saboteur.landed)} faults")


def _unended(history: History) -> int:
    return sum(story.ended_at is None for story in history.stories)


def _told(opened: site.Site, kind: str) -> list[list[str]]:
    """What the workers wrote down for the benchmark (`benchmarks.chaos.worker`)."""
    head = f"chaos: {kind} "
    lines = (line for worker in opened.workers for line in worker.lines())
    return [line.removeprefix(head).split() for line in lines if line.startswith(head)]


def _pids(opened: site.Site) -> dict[str, int]:
    return {worker: int(pid) for worker, pid in _told(opened, "worker")}


def _refused(opened: site.Site) -> Counter[str]:
    return Counter(script for script, _ in _told(opened, "refused"))


def _exits(opened: site.Site) -> Counter[str]:
    """How processes ended: a signal's number with a minus, or an exit code (70: the engine hung)."""
    return Counter(
        f"{process.name.partition('-')[0]} {code}" for process in opened.processes for code in process.exits
    )


def _valkey(opened: site.Site) -> str:
    with opened.records.client(decode_responses=True) as client:
        info = client.info("server")
    return str(info.get("valkey_version", info["redis_version"]))
