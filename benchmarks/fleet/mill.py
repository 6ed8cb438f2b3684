"""A process that puts jobs through the record store as fast as it goes.

Started as `python -m benchmarks.fleet.mill WAY SECONDS NUMBER`.

Makes the calls of the door, the workers and the broker, many jobs at once in pipelines (`AsyncStore`), so
that the server and not this process is the bottleneck. Prints a line of JSON: `jobs` that were settled,
`seconds`, `cpu_s`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

from benchmarks.fleet.load import KEPT_S, SETTINGS, STEPS, STREAMED, WAYS, Way, placings
from shared import ids
from shared.result import Choice, Piece, Result, Usage
from shared.settings import settings
from shared.store import admission, claims, workers
from shared.store.admission import Placing
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect_async

AT_ONCE = 64
WARM_S = KEPT_S + 2.0
"""Longer than records live: what is measured deletes as much as it writes."""
PRINT = "0" * 32


class Mill:
    """`settled` counts the jobs that went all the way."""

    def __init__(self, store: AsyncStore, nudger: AsyncNudger, way: Way, number: int) -> None:
        self.settled = 0
        self._store = store
        self._nudger = nudger
        self._way = way
        self._worker = f"worker_{number:02d}"
        self._placings: Iterator[Placing] = placings(way, number)

    async def turn(self) -> None:
        """Submit one job and settle one, without end; the claim may get another task's job."""
        lane = self._way.model.lane
        while True:
            await self._store.run(admission.submit(next(self._placings), SETTINGS))
            await self._nudger.send([lane])
            claim = await self._store.run(
                claims.claim(SETTINGS, lane=lane, worker=self._worker, token=ids.token(), fingerprint=PRINT)
            )
            if claim is not None:
                await self._answer(claim)

    async def _answer(self, claim: claims.Claim) -> None:
        words = [f" w{number:05d}" for number in range(STEPS)]
        streamed = words[:-1] if self._way == STREAMED else []
        for number, word in enumerate(streamed):
            piece = Piece(number * len(word), word, (number,))
            await self._store.run(claims.append(claim, piece))
        text = "".join(words)
        told = sum(map(len, streamed))
        rest = Piece(told, text[told:], tuple(range(len(streamed), STEPS)))
        usage = Usage(prompt_tokens=20, completion_tokens=len(words))
        choices = (Choice(text=text, finish_reason="stop"),)
        answer = Result(choices=choices, usage=usage, fingerprint=PRINT, compute_s=1.0)
        await self._store.run(claims.settle(SETTINGS, claim, answer, fingerprint=PRINT, rest=(rest,)))
        self.settled += 1

    async def beat(self) -> None:
        """As workers do, so that the line is served."""
        facts = {"rows": str(AT_ONCE), "slots": str(AT_ONCE)}
        lane = self._way.model.lane
        while True:
            said = workers.beat(
                SETTINGS, worker=self._worker, lane=lane, state="ready", fingerprint=PRINT, facts=facts
            )
            await self._store.run(said)
            await asyncio.sleep(SETTINGS.queue.renew_s)


async def grind(way: Way, seconds: float, number: int) -> dict[str, float]:
    store, nudger = connect_async(settings().redis), AsyncNudger(settings().redis)
    mill = Mill(store, nudger, way, number)
    turning = [asyncio.create_task(mill.turn()) for _ in range(AT_ONCE)]
    turning.append(asyncio.create_task(mill.beat()))
    await _passed(turning, WARM_S)
    print("warm", flush=True)
    began, before, cpu = time.monotonic(), mill.settled, time.process_time()
    await _passed(turning, seconds)
    told = {
        "jobs": mill.settled - before,
        "seconds": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
    }
    for task in turning:
        task.cancel()
    await asyncio.gather(*turning, return_exceptions=True)
    return told


async def _passed(turning: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits `seconds`; raises what a task raised, since none ends otherwise."""
    done, _ = await asyncio.wait(turning, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


if __name__ == "__main__":
    name, seconds, number = sys.argv[1:]
    (way,) = [way for way in WAYS if way.name == name]
    print(json.dumps(asyncio.run(grind(way, float(seconds), int(number)))))
