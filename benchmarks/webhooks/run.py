"""One run: jobs are asked while receivers misbehave and couriers die, until nothing is left to be told."""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.webhooks import checker
from benchmarks.webhooks.checker import ALL, OWN, Told, Verdict, judge
from benchmarks.webhooks.receivers import Received, read
from benchmarks.webhooks.site import MODEL, Site, opened
from shared.webhooks import new_secret

SHARES = {"steady": 30, "flaky": 30, "hangs": 14, "restarts": 20, "gone": 4, "dead": 2}
"""How many of a hundred jobs have their own webhook at each kind of receiver."""
KILL_S = 5.0
OPEN_AT_ONCE = 32
POLL_S = 0.5
STUCK_S = 180.0
"""The wait ends after this long without a call."""
SECRET = new_secret()


@dataclass
class Outcome:
    """What a run came to; times in Unix seconds."""

    jobs: list[Told]
    ended: list[float]
    calls: list[Received]
    verdict: Verdict
    kills: list[float]
    began: float
    asked_s: float
    over_s: float
    valkey: str


async def run(count: int, rate: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Ask `count` jobs, at most `rate` a second."""
    kills: list[float] = []
    async with (
        opened(seed) as site,
        httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as client,
    ):
        endpoint = await _endpoint(client, site)
        began = time.time()
        killer = asyncio.create_task(_kill(site, kills))
        asked = await _ask_all(client, site, count, rate, seed)
        say(f"{len(asked)} jobs asked")
        asked_s = time.time() - began
        await _until_told(site, say)
        killer.cancel()
        over_s = time.time() - began
        jobs, ended = await _read_jobs(client, asked)
        events = await _events(client)
        lines = [line for courier in site.couriers for line in courier.lines()]
        calls = read(site.calls)
        with site.records.client(decode_responses=True) as redis:
            info = redis.info("server")
        valkey = str(info.get("valkey_version", info["redis_version"]))
    verdict = judge(jobs, calls, checker.given_up(lines), events, {OWN: SECRET, ALL: endpoint})
    return Outcome(jobs, ended, calls, verdict, kills, began, asked_s, over_s, valkey)


async def _endpoint(client: httpx.AsyncClient, site: Site) -> str:
    """The caller's own webhook, told of every job beside that job's; its secret."""
    body = {"url": site.receiver("flaky", ALL), "events": ["job.succeeded"]}
    reply = await client.post("/v1/webhooks", json=body)
    reply.raise_for_status()
    return str(reply.json()["secret"])


async def _kill(site: Site, kills: list[float]) -> None:
    """One courier after the other, as the kernel kills."""
    while True:
        for courier in site.couriers:
            await asyncio.sleep(KILL_S)
            courier.send(signal.SIGKILL)
            kills.append(time.time())


async def _ask_all(client: httpx.AsyncClient, site: Site, count: int, rate: int, seed: int) -> dict[str, str]:
    """The behaviour of each job's own receiver, by the job's id."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    behaviours = dice.choices(list(SHARES), list(SHARES.values()), k=count)
    free = asyncio.Semaphore(OPEN_AT_ONCE)

    async def ask(number: int, behaviour: str) -> tuple[str, str]:
        async with free:
            hook = {"url": site.receiver(behaviour), "secret": SECRET}
            body = {"model": MODEL, "input": {"prompt": f"Tell {number} apart."}, "webhook": hook}
            reply = await client.post("/v1/jobs", json=body)
            reply.raise_for_status()
            return str(reply.json()["id"]), behaviour

    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, behaviour in enumerate(behaviours):
            tasks.append(group.create_task(ask(number, behaviour)))
            await asyncio.sleep(1 / rate)
    return dict(task.result() for task in tasks)


async def _until_told(site: Site, say: Callable[[str], None]) -> None:
    """Until no call is in line or under way, or none was made for STUCK_S."""
    last, size = time.monotonic(), -1
    with site.records.client(decode_responses=True) as redis:
        while await asyncio.to_thread(redis.exists, "sl2:callers"):
            if (now := site.calls.stat().st_size) != size:
                last, size = time.monotonic(), now
            if time.monotonic() - last > STUCK_S:
                say("what is left waits for nobody")
                return
            await asyncio.sleep(POLL_S)


async def _read_jobs(client: httpx.AsyncClient, asked: dict[str, str]) -> tuple[list[Told], list[float]]:
    found, ended = [], []
    for job, behaviour in asked.items():
        seen: dict[str, Any] = (await client.get(f"/v1/jobs/{job}")).raise_for_status().json()
        found.append(Told(job, behaviour, seen["webhook"]["delivered_at"] is not None))
        ended.append(float(seen["ended_at"]))
    return found, ended


async def _events(client: httpx.AsyncClient) -> list[str]:
    found: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        after = {"after": found[-1]} if found else {}
        page = (await client.get("/v1/events", params={"limit": 100, **after})).raise_for_status().json()
        found += [event["id"] for event in page["data"]]
    return found
