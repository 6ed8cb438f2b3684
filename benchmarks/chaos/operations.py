"""Faults that hit no process: an operator removes a model, a caller submits a burst of equal jobs, whose ends
sixteen endpoints are told.
"""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from typing import Any

import httpx

from benchmarks.chaos.clients import Client, is_refused_for_now
from benchmarks.chaos.history import MODEL, History, Story, equal_questions
from benchmarks.chaos.receiver import HOST
from benchmarks.chaos.services import ChaosServices
from benchmarks.webhooks.receivers import any_delivery, read

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

    async def register(self) -> None:
        """The second caller's key and its webhook."""
        body = {"name": "bursts", "caller": "bursts"}
        key = await self._call(self._operator, "POST", "/v1/admin/keys", body)
        self._caller.headers["authorization"] = f"Bearer {key['secret']}"
        hook = {"url": f"http://{HOST}:{self._services.hook_port}/told"}
        await self._call(self._operator, "PUT", f"/v1/admin/keys/{key['id']}/webhook", hook)

    async def remove_model(self, for_s: float) -> None:
        await self._call(self._operator, "DELETE", f"/v1/admin/models/{MODEL}")
        await asyncio.sleep(for_s)
        await self._call(self._operator, "POST", "/v1/admin/models", dict(self._services.row))

    async def burst(self) -> None:
        """Until all of it is accepted."""
        size = max(1, round(self._size * (LATER_BURSTS if self._bursts else 1)))
        questions = equal_questions(len(self._history.stories), size)
        stories = [Story(question) for question in questions]
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

    async def until_told(self) -> None:
        """Until no delivery waits, or none came for PATIENCE_S; notes at each job what was told."""
        calls, size, left_s = self._services.calls, -1, PATIENCE_S
        with self._services.records.client() as redis:
            while left_s > 0 and await asyncio.to_thread(any_delivery, redis):
                left_s = left_s - PAUSE_S if calls.stat().st_size == size else PATIENCE_S
                size = calls.stat().st_size
                await asyncio.sleep(PAUSE_S)
        told = defaultdict[tuple[str, str], set[str]](set)
        for call in read(calls):
            job = json.loads(call.body)["data"]
            told[call.host, job["id"]].add(job["status"])
        for story in self._bursts:
            story.reports = {HOST: _statuses(told, HOST, story)}

    async def _call(
        self, http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Any:
        """At whichever API answers, until one has done it."""
        urls = self._services.urls
        for attempt in range(10_000):
            try:
                reply = await http.request(method, urls[attempt % len(urls)] + path, json=body)
                if not is_refused_for_now(reply):
                    reply.raise_for_status()
                    return reply.json() if reply.content else None
            except httpx.TransportError:
                pass
            await asyncio.sleep(PAUSE_S)
        raise TimeoutError(path)


def _statuses(told: dict[tuple[str, str], set[str]], host: str, story: Story) -> set[str]:
    return set().union(*(told.get((host, job), set()) for job in story.ids))
