"""How many connections to the record store one API process needs for many callers who wait."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.overhead import questions
from benchmarks.overhead.load import UnexpectedAnswerError
from benchmarks.overhead.site import Site
from shared.store.keys import channel

LOOK_S = 0.1
LIMIT_S = 60
WAIT_S = 100


@dataclass(frozen=True)
class Waited:
    """`most` is the highest number of connections seen, also while the callers came; `rss_mb` of the API."""

    clients: int
    connections: int
    most: int
    rss_mb: float


def measure(site: Site, clients: int) -> Waited:
    """Each waits for a job of its own by GET ?wait, until the API has subscribed to every run."""
    return asyncio.run(_measure(site, _submitted(site, clients)))


def _submitted(site: Site, count: int) -> list[str]:
    """Submits jobs that nobody computes; returns the paths to wait at."""
    connection = http.client.HTTPConnection("127.0.0.1", site.api_port)
    paths = []
    for number in range(count):
        body = questions.job(f"waiter {number:06d} {questions.ASKED}")
        connection.request("POST", "/v1/jobs", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        paths.append(json.loads(answer.read())["urls"]["self"])
    connection.close()
    return paths


async def _measure(site: Site, paths: list[str]) -> Waited:
    process = psutil.Process(site.processes["api"].pid)
    redis = site.records.client()
    writers, most, waiting = [], 0, 0
    async with asyncio.timeout(LIMIT_S):
        for path in paths:
            _, writer = await asyncio.open_connection("127.0.0.1", site.api_port)
            writer.write(questions.get(f"{path}?wait={WAIT_S}"))
            writers.append(writer)
            if len(writers) % 100 == 0:
                most = max(most, len(_connections(redis, process)))
        while waiting < len(paths):
            await asyncio.sleep(LOOK_S)
            most = max(most, len(_connections(redis, process)))
            waiting = len(redis.pubsub_channels(channel("run_*")))
    now = len(_connections(redis, process))
    for writer in writers:
        writer.close()
    if not now:
        raise UnexpectedAnswerError("none of the API's connections was found")
    return Waited(len(paths), now, max(most, now), round(process.memory_info().rss / 1e6, 1))


def _connections(redis: Any, process: psutil.Process) -> set[int]:
    """The entries of CLIENT LIST, all databases, whose other end is a socket of the process."""
    listed = {int(entry["addr"].rpartition(":")[2]) for entry in redis.client_list()}
    own = {c.laddr.port for c in process.net_connections("tcp") if c.laddr and c.raddr}
    return listed & own
