"""A closer look at the record store than `probe`, to tell an operator whether jobs may rely on it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis

from shared.errors import Unavailable
from shared.store.models import registered
from shared.store.rights import former_layout
from shared.store.script import Store, WritesRefused
from shared.store.server import Server, probe

PINGS = 9


@dataclass(frozen=True)
class Examination:
    """`max_bytes` is 0 without a limit. `writes` is false where its last write to its disk failed,
    `former` true where it has records of an earlier layout.

    `latency_ms` is the median of a few round trips, `ahead_s` how far its clock is ahead of ours.
    """

    server: Server
    policy: str
    max_bytes: int
    used_bytes: int
    writes: bool
    former: bool
    latency_ms: float
    ahead_s: float


def examine(url: str, *, now: Callable[[], float] = time.time, timeout_s: float = 2) -> Examination:
    """Raises Unavailable `store_unavailable`; its message never holds the URL."""
    server = probe(url, timeout_s=timeout_s)
    try:
        with redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=True
        ) as client:
            told: Any = client.info()
            # Raises where there are no functions, or our user may not load or call them.
            with suppress(WritesRefused):
                Store(client).run(registered())
            former = former_layout(client)
            latency_ms = median(_ping_ms(client) for _ in range(PINGS))
            ahead_s = _ahead_s(client, now)
    except (redis.RedisError, OSError) as error:
        raise Unavailable("store_unavailable", f"{type(error).__name__}: {error}"[:300]) from None
    states = (told.get(name, "ok") for name in ("aof_last_write_status", "rdb_last_bgsave_status"))
    return Examination(
        server=server,
        policy=str(told.get("maxmemory_policy", "noeviction")),
        max_bytes=int(told.get("maxmemory", 0)),
        used_bytes=int(told["used_memory"]),
        writes=all(state == "ok" for state in states),
        former=former,
        latency_ms=latency_ms,
        ahead_s=ahead_s,
    )


def _ping_ms(client: Any) -> float:
    began = time.perf_counter()
    client.ping()
    return (time.perf_counter() - began) * 1000


def _ahead_s(client: Any, now: Callable[[], float]) -> float:
    """By the quickest of a few round trips: one that was held up says nothing about the clock."""
    return min(_clock(client, now) for _ in range(PINGS))[1]


def _clock(client: Any, now: Callable[[], float]) -> tuple[float, float]:
    """How long a round trip took, and how far ahead the server's clock was in its middle; seconds."""
    before = now()
    seconds, micros = client.time()
    after = now()
    return after - before, seconds + micros / 1e6 - (before + after) / 2
