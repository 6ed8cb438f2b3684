"""How many jobs a second can one record store do? About a minute and a half.

Processes that play admission, workers, couriers and the broker fill the store with jobs whose answers come
whole, are streamed, or are told to a webhook. They have many jobs at once in pipelines (`AsyncStore`), so
that the server and not they are the bottleneck. A rate is that of a whole core of the server.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import uvloop
from matplotlib.figure import Figure

from benchmarks.frame import command, jobs, report
from benchmarks.frame.services import record_server
from benchmarks.frame.statistics import Bound
from benchmarks.frame.usage import thread_s
from shared import ids
from shared.job import Delivery
from shared.request import Message, Request, Text
from shared.result import Piece
from shared.settings import RedisSettings, RetentionSettings, Settings, WebhookSettings
from shared.store import admission, claims, webhooks
from shared.store.admission import PLAIN, JobTerms, Placing
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect_async
from shared.store.webhooks import DueCall
from shared.webhooks import Webhook, body_of

WAYS = {
    "whole": PLAIN,
    "streamed": PLAIN,
    "webhooks": JobTerms(webhook=Webhook("http://receiver.example/", host="receiver.example")),
}
PER_S = {"whole": 2500.0, "webhooks": 1200.0}
"""Jobs a second that one record store is to do."""
STEPS = 20
"""Mean words of an answer: a worker writes at most ten chunks a second of one."""
CALLERS = 20
KEPT_S = 10
SETTINGS = Settings(
    queue=jobs.UNLIMITED,
    retention=RetentionSettings(result_s=KEPT_S, job_s=KEPT_S),
    webhook=WebhookSettings(host_calls=1000),
)
"""Records are kept for seconds, so that the figures include the cost of deleting them."""
AT_ONCE = 64
WARM_S = KEPT_S + 4.0
"""Longer than processes take to start and records are kept: what is measured deletes as much as it writes."""


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    rows = []
    for way in WAYS:
        rows.append(saturation(way, arguments.seconds))
        say(str(rows[-1]))
    bounds = [
        Bound(f"one record store, {row['way']}", row["full_per_s"], PER_S[row["way"]], "jobs/s", True)
        for row in rows
        if row["way"] in PER_S
    ]
    return report.Findings({"mills": rows}, _picture(rows), bounds)


def saturation(way: str, seconds: float) -> dict[str, Any]:
    """Fill the store with one process for each core that the record server leaves, and two at least.

    `redis` is the share of a core that the server used, `full_per_s` the rate of a whole core.
    """
    count = max(2, (os.cpu_count() or 2) - 1)
    with record_server() as records, ProcessPoolExecutor(count) as pool, records.client() as client:
        begins = time.monotonic() + WARM_S
        mills = [pool.submit(run, records.settings, way, n, begins, begins + seconds) for n in range(count)]
        time.sleep(WARM_S)
        used_s, began = thread_s(client), time.monotonic()
        time.sleep(begins + seconds - began)
        core = (thread_s(client) - used_s) / (time.monotonic() - began)
        per_s = sum(mill.result() for mill in mills) / seconds
    return {
        "way": way,
        "jobs_per_s": round(per_s, 1),
        "redis": round(core, 4),
        "full_per_s": round(per_s / core, 1),
        "redis_us_per_job": round(core / per_s * 1e6, 1),
    }


def run(redis: RedisSettings, way: str, number: int, begins: float, ends: float) -> int:
    """Put jobs through the store in this process; return how many ended between two monotonic moments."""
    return uvloop.run(_run(redis, way, number, begins, ends))


async def _run(redis: RedisSettings, way: str, number: int, begins: float, ends: float) -> int:
    load = StoreLoad(connect_async(redis), AsyncNudger(redis), way, number)
    tasks = [asyncio.create_task(load.submit_and_settle()) for _ in range(AT_ONCE)]
    tasks.append(asyncio.create_task(load.beat()))
    await _until(begins, tasks)
    before = load.ended
    await _until(ends, tasks)
    ended = load.ended - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return ended


async def _until(moment: float, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Raise what a task raised, since none ends otherwise."""
    limit_s = moment - time.monotonic()
    done, _ = await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


class StoreLoad:
    """`ended` counts the jobs that went all the way, that of their webhooks included."""

    def __init__(self, store: AsyncStore, nudger: AsyncNudger, way: str, number: int) -> None:
        self.ended = 0
        self._store = store
        self._nudger = nudger
        self._way = way
        self._lane = jobs.lane_of(f"bench/{way}")
        self._worker = f"worker_{number:02d}"
        self._placings = placings(way, number)

    async def submit_and_settle(self) -> None:
        """Submit one job and settle one, without end; the claim may get another task's job."""
        while True:
            await self._store.run(admission.submit(next(self._placings), SETTINGS, WAYS[self._way]))
            await self._nudger.send([self._lane])
            if claim := await self._store.run(jobs.claim(self._worker, self._lane, SETTINGS)):
                await self._answer(claim)

    async def _answer(self, claim: claims.Claim) -> None:
        words = [f" w{number:05d}" for number in range(STEPS)]
        streamed = words[:-1] if self._way == "streamed" else []
        for number, word in enumerate(streamed):
            piece = Piece(number * len(word), word, (number,))
            await self._store.run(claims.append(claim, piece))
        text, sent = "".join(words), len("".join(streamed))
        rest = Piece(sent, text[sent:], tuple(range(len(streamed), STEPS)))
        answer = jobs.answer(text, tokens=len(words))
        await self._store.run(jobs.settle(claim, answer, SETTINGS, rest=(rest,)))
        if WAYS[self._way].webhook is None:
            self.ended += 1
        else:
            await self._deliver()

    async def _deliver(self) -> None:
        """Deliver as couriers do, to a receiver that answers at once; it may be another task's job."""
        due = await self._store.run(webhooks.claim(SETTINGS, ids.token()))
        if isinstance(due, DueCall):
            body_of(due.notice)
            tried = Delivery(due.notice.type, due.notice.at_ms, 1, 200)
            if await self._store.run(webhooks.report(SETTINGS, due, tried)) == "settled":
                self.ended += 1

    async def beat(self) -> None:
        """Send a worker's heartbeats, so that the queue is served."""
        while True:
            beat = jobs.beat(self._worker, self._lane, rows=AT_ONCE, slots=AT_ONCE, settings=SETTINGS)
            await self._store.run(beat)
            await asyncio.sleep(SETTINGS.queue.renew_s)


def placings(way: str, seed: int) -> Iterator[Placing]:
    """Yield questions without end, none like another: the words of each are its answer."""
    dice, model = random.Random(seed), f"bench/{way}"  # noqa: S311
    for number in itertools.count():
        words = " ".join(f"w{number}" for _ in range(dice.randint(STEPS // 2, STEPS * 3 // 2)))
        request = Request(model=model, messages=(Message(role="user", parts=(Text(text=words),)),))
        body = request.model_dump_json(exclude_none=True)
        yield jobs.placing(model, f"caller-{number % CALLERS}", request=body)


def _picture(rows: Sequence[dict[str, Any]]) -> Figure:
    figure, panel = report.figure(size=(6, 3.5))
    panel.bar([row["way"] for row in rows], [row["full_per_s"] for row in rows], width=0.5)
    panel.set_ylabel("jobs/s of one Redis, its core full")
    return figure


if __name__ == "__main__":
    command.main("fleet", __doc__, measure, seconds=(10.0, "that each way is measured for"))
