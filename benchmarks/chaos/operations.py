"""Faults that hit no process: an operator removes a model; a caller with a webhook submits a burst."""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos.clients import Client, is_refused_for_now
from benchmarks.chaos.history import MODEL, History, Story, equal_questions
from benchmarks.chaos.services import ROW, ChaosServices
from benchmarks.webhooks.receivers import HOST, Received, read, until_delivered

BURST, LATER_BURSTS, BURST_SHARE = 1000, 0.1, 0.1
"""Jobs of the first burst, the part of it that each later one has, the first one's largest share of all."""
POLLS_AT_ONCE, SUBMITS_AT_ONCE = 32, 64
PAUSE_S = 0.2
PATIENCE_S = 90.0
"""Deliveries are waited for until none arrived for so long: more than a courier's lease of a call."""


class Operations:
    """What an operator and a second caller do; `polls` are the burst's clients that still wait."""

    def __init__(
        self,
        services: ChaosServices,
        operator: httpx.AsyncClient,
        caller: httpx.AsyncClient,
        history: History,
    ) -> None:
        self.polls: list[asyncio.Task[None]] = []
        self._services, self._operator, self._caller = services, operator, caller
        self._history, self._name = history, secrets.token_hex(4)
        self._size = min(BURST, round(len(history.stories) * BURST_SHARE))
        self._bursts: list[Story] = []

    async def remove_model(self, for_s: float) -> None:
        await self._call("DELETE", f"/v1/admin/models/{MODEL}")
        await asyncio.sleep(for_s)
        await self._call("POST", "/v1/admin/models", ROW)

    async def burst(self) -> None:
        """Return once all of it is accepted."""
        size = max(1, round(self._size * (LATER_BURSTS if self._bursts else 1)))
        stories = [Story(question) for question in equal_questions(len(self._history.stories), size)]
        self._history.stories += stories
        self._bursts += stories
        submits, polls = asyncio.Semaphore(SUBMITS_AT_ONCE), asyncio.Semaphore(POLLS_AT_ONCE)
        await asyncio.gather(*(self._ask(story, submits, polls) for story in stories))

    async def _ask(self, story: Story, submits: asyncio.Semaphore, polls: asyncio.Semaphore) -> None:
        client = Client(self._caller, self._services.urls, story, self._name, "")
        async with submits:
            job = await client.submit()

        async def poll() -> None:
            async with polls:
                await client.poll(job)
            story.ended_at = time.time()

        self.polls.append(asyncio.create_task(poll()))

    async def until_delivered(self) -> None:
        """Wait until no delivery is left, or none came for PATIENCE_S; note what each webhook received."""
        with self._services.records.client() as redis:
            await until_delivered(redis, self._services.calls, PATIENCE_S)
        note_reports(self._services.calls, self._bursts)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Ask whichever API answers, until one has done it."""
        urls = self._services.urls
        for attempt in range(10_000):
            try:
                reply = await self._operator.request(method, urls[attempt % len(urls)] + path, json=body)
                if not is_refused_for_now(reply):
                    reply.raise_for_status()
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(PAUSE_S)
        raise TimeoutError(path)


async def use_key(operator: httpx.AsyncClient, caller: httpx.AsyncClient, services: ChaosServices) -> None:
    """Let the caller use a new key whose default webhook gets each end."""
    keys, hook = f"{services.urls[0]}/v1/admin/keys", {"url": f"http://{HOST}:{services.hook_port}/told"}
    key = (await operator.post(keys, json={"name": "told", "caller": "told"})).raise_for_status().json()
    (await operator.put(f"{keys}/{key['id']}/webhook", json=hook)).raise_for_status()
    caller.headers["authorization"] = f"Bearer {key['secret']}"


def note_reports(calls: Path, stories: Sequence[Story]) -> list[Received]:
    """Note at each story the ends that its webhook was told; return all calls."""
    told, received = defaultdict[str, set[str]](set), read(calls)
    for call in received:
        job = json.loads(call.body)["data"]
        told[job["id"]].add(job["status"])
    for story in stories:
        story.reports = set().union(*(told[job] for job in story.ids))
    return received
