"""How many jobs a second can one record store do? About a minute and a half.

Processes that play admission, workers, couriers and the broker fill the store with jobs whose answers come
whole, are streamed, or are told to a webhook. They have many jobs at once in pipelines (`AsyncStore`), so
that the server and not they are the bottleneck. A rate is that of a whole core of the server.
"""

import asyncio
import itertools
import json
import os
import time
from collections.abc import Sequence
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
from shared.result import Piece
from shared.settings import RedisSettings, RetentionSettings, Settings, WebhookSettings
from shared.store import admission, claims, webhooks
from shared.store.admission import PLAIN, JobTerms
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
"""Words of a question and of its answer: a worker writes at most ten chunks a second of one."""
REQUEST = json.dumps({"model": "bench/model", "messages": [{"role": "user", "content": "w12345 " * STEPS}]})
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
        thread_s(client)
        time.sleep(max(begins - time.monotonic(), 0))
        used_s, began = thread_s(client), time.monotonic()
        time.sleep(max(begins + seconds - began, 0))
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
    ended = 0
    store, nudger, lane = connect_async(redis), AsyncNudger(redis), jobs.lane_of(f"bench/{way}")
    worker, callers = f"worker_{number:02d}", itertools.cycle(f"caller-{n}" for n in range(CALLERS))

    async def work() -> None:
        """Submit one job and settle one, without end; the claim may get another task's job."""
        nonlocal ended
        while True:
            placing = jobs.placing(f"bench/{way}", next(callers), request=REQUEST)
            await store.run(admission.submit(placing, SETTINGS, WAYS[way]))
            await nudger.send([lane])
            if claim := await store.run(jobs.claim(worker, lane, SETTINGS)):
                await _answer(store, claim, streamed=way == "streamed")
                # Not in one line: it would add to the count from before the wait.
                done = way != "webhooks" or await _delivered(store)
                ended += done

    async def beat() -> None:
        """Send a worker's heartbeats, so that the queue is served."""
        while True:
            await store.run(jobs.beat(worker, lane, rows=AT_ONCE, slots=AT_ONCE, settings=SETTINGS))
            await asyncio.sleep(SETTINGS.queue.renew_s)

    tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE)] + [asyncio.create_task(beat())]
    await _until(begins, tasks)
    before = ended
    await _until(ends, tasks)
    count = ended - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


async def _answer(store: AsyncStore, claim: claims.Claim, *, streamed: bool) -> None:
    words = [f" w{number:05d}" for number in range(STEPS)]
    early = words[:-1] if streamed else []
    for number, word in enumerate(early):
        await store.run(claims.append(claim, Piece(number * len(word), word, (number,))))
    text, sent = "".join(words), len("".join(early))
    rest = Piece(sent, text[sent:], tuple(range(len(early), STEPS)))
    await store.run(jobs.settle(claim, jobs.answer(text, tokens=STEPS), SETTINGS, rest=(rest,)))


async def _delivered(store: AsyncStore) -> bool:
    """Deliver as couriers do, to a receiver that answers at once; it may be another task's job."""
    due = await store.run(webhooks.claim(SETTINGS, ids.token()))
    if not isinstance(due, DueCall):
        return False
    body_of(due.notice)
    tried = Delivery(due.notice.type, due.notice.at_ms, 1, 200)
    return await store.run(webhooks.report(SETTINGS, due, tried)) == "settled"


async def _until(moment: float, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Raise what a task raised, since none ends otherwise."""
    limit_s = moment - time.monotonic()
    done, _ = await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _picture(rows: Sequence[dict[str, Any]]) -> Figure:
    figure, panel = report.figure(size=(6, 3.5))
    panel.bar([row["way"] for row in rows], [row["full_per_s"] for row in rows], width=0.5)
    panel.set_ylabel("jobs/s of one Redis, its core full")
    return figure


if __name__ == "__main__":
    command.main("fleet", __doc__, measure, seconds=(10.0, "that each way is measured for"))
