"""Ways of answering, many callers; and a process that fills the store.

`python -m benchmarks.fleet.workload WAY SECONDS NUMBER` puts jobs through the record store as fast as it
goes. It makes the calls of admission, workers, couriers and the broker, many jobs at once in pipelines
(`AsyncStore`), so that the server and not this process is the bottleneck. It prints a line once it is warm,
then a line of JSON: `jobs` that ended, `seconds`.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from benchmarks.frame import jobs
from shared import ids
from shared.job import Delivery
from shared.request import Message, Request, Text
from shared.result import Piece
from shared.settings import RetentionSettings, Settings, WebhookSettings, settings
from shared.store import admission, claims, webhooks
from shared.store.admission import PLAIN, JobTerms, Placing
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect_async
from shared.store.webhooks import DueCall
from shared.webhooks import Webhook, body_of

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
WARM_S = KEPT_S + 2.0
"""Longer than records are kept: what is measured deletes as much as it writes."""


@dataclass(frozen=True)
class Way:
    """Whether an answer's pieces are written as they come, or all of it at its end; whether a webhook is
    called then.
    """

    name: str
    terms: JobTerms = PLAIN

    @property
    def model(self) -> str:
        return f"bench/{self.name}"

    @property
    def lane(self) -> str:
        return jobs.lane_of(self.model)


WHOLE, STREAMED = Way("whole"), Way("streamed")
HOOKED = Way("webhooks", JobTerms(webhook=Webhook("http://receiver.example/", host="receiver.example")))
MILL_WAYS = (WHOLE, STREAMED, HOOKED)


def placings(way: Way, seed: int) -> Iterator[Placing]:
    """Questions without end, none like another: the words of each are its answer."""
    dice = random.Random(seed)  # noqa: S311
    for number in itertools.count():
        words = " ".join(f"w{number}" for _ in range(dice.randint(STEPS // 2, STEPS * 3 // 2)))
        request = Request(model=way.model, messages=(Message(role="user", parts=(Text(text=words),)),))
        body = request.model_dump_json(exclude_none=True)
        yield jobs.placing(way.model, f"caller-{number % CALLERS}", request=body)


class StoreLoad:
    """`ended` counts the jobs that went all the way, that of their webhooks included."""

    def __init__(self, store: AsyncStore, nudger: AsyncNudger, way: Way, number: int) -> None:
        self.ended = 0
        self._store = store
        self._nudger = nudger
        self._way = way
        self._worker = f"worker_{number:02d}"
        self._placings = placings(way, number)

    async def submit_and_settle(self) -> None:
        """Submit one job and settle one, without end; the claim may get another task's job."""
        lane = self._way.lane
        while True:
            await self._store.run(admission.submit(next(self._placings), SETTINGS, self._way.terms))
            await self._nudger.send([lane])
            if claim := await self._store.run(jobs.claim(self._worker, lane, SETTINGS)):
                await self._answer(claim)

    async def _answer(self, claim: claims.Claim) -> None:
        words = [f" w{number:05d}" for number in range(STEPS)]
        streamed = words[:-1] if self._way == STREAMED else []
        for number, word in enumerate(streamed):
            piece = Piece(number * len(word), word, (number,))
            await self._store.run(claims.append(claim, piece))
        text = "".join(words)
        sent = sum(map(len, streamed))
        rest = Piece(sent, text[sent:], tuple(range(len(streamed), STEPS)))
        answer = jobs.answer(text, tokens=len(words))
        await self._store.run(jobs.settle(claim, answer, SETTINGS, rest=(rest,)))
        if self._way.terms.webhook is None:
            self.ended += 1
        else:
            await self._deliver()

    async def _deliver(self) -> None:
        """As couriers do, to a receiver that answers at once; it may be another task's job."""
        due = await self._store.run(webhooks.claim(SETTINGS, ids.token()))
        if isinstance(due, DueCall):
            body_of(due.notice)
            tried = Delivery(due.notice.type, due.notice.at_ms, 1, 200)
            if await self._store.run(webhooks.report(SETTINGS, due, tried)) == "settled":
                self.ended += 1

    async def beat(self) -> None:
        """As workers do, so that the queue is served."""
        lane = self._way.lane
        while True:
            beat = jobs.beat(self._worker, lane, rows=AT_ONCE, slots=AT_ONCE, settings=SETTINGS)
            await self._store.run(beat)
            await asyncio.sleep(SETTINGS.queue.renew_s)


async def saturate(way: Way, seconds: float, number: int) -> dict[str, float]:
    store, nudger = connect_async(settings().redis), AsyncNudger(settings().redis)
    load = StoreLoad(store, nudger, way, number)
    tasks = [asyncio.create_task(load.submit_and_settle()) for _ in range(AT_ONCE)]
    tasks.append(asyncio.create_task(load.beat()))
    await _passed(tasks, WARM_S)
    print("warm", flush=True)
    began, before = time.monotonic(), load.ended
    await _passed(tasks, seconds)
    counts = {"jobs": load.ended - before, "seconds": time.monotonic() - began}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


async def _passed(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits `seconds`; raises what a task raised, since none ends otherwise."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


if __name__ == "__main__":
    name, seconds, number = sys.argv[1:]
    (way,) = [way for way in MILL_WAYS if way.name == name]
    print(json.dumps(uvloop.run(saturate(way, float(seconds), int(number)))))
