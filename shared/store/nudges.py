"""Nudges: "look at this lane", sent as Celery messages straight onto the broker's list.

A nudge carries no work and may be lost, doubled or late: workers look by themselves, too, and a stale one
finds nothing. One is sent for each run that may be claimed.

The envelope is what Celery's message protocol 2 requires, inside kombu's for Redis. It is written here,
because both take megabytes of each API process, and a producer ten times the processor time of the rest of a
submission.
"""

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError
from redis.retry import Retry

from shared.errors import Unavailable
from shared.log_throttle import LogThrottle
from shared.settings import RedisSettings
from shared.store import exchange
from shared.store.clients import open_async_client, open_client
from shared.store.keys import BATCH
from shared.store.script import CONNECTION, store_errors

log = logging.getLogger("shared.store")
TASK = "sightline.claim"
"""The Celery task every nudge names; its one argument is the lane."""

MOST = 1000
"""Nudges listed for one lane: runs that came and went while nobody worked must not fill the broker. A run
with as many before it needs none of its own.
"""

_ID = "00000000-0000-4000-8000-000000000000"


@cache
def _template(lane: str) -> str:
    """One envelope for a lane, with a stand-in for its ids."""
    embed = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    headers = {"lang": "py", "task": TASK, "id": _ID, "root_id": _ID, "parent_id": None, "group": None}
    delivery = {"delivery_tag": _ID, "delivery_info": {"exchange": "", "routing_key": lane}}
    message = {
        "body": json.dumps([[lane], {}, embed]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {"correlation_id": _ID, **delivery},
    }
    return json.dumps(message, separators=(",", ":"))


def envelope(lane: str) -> str:
    """A new nudge for a lane, at most 1 KB."""
    return _template(lane).replace(_ID, str(uuid.uuid4()))


def _commands(lanes: Mapping[str, int]) -> list[tuple[Any, ...]]:
    """Workers take from the other end; nudges are alike, so the oldest can go."""
    pushes = (("LPUSH", lane, *(envelope(lane) for _ in range(count))) for lane, count in lanes.items())
    return [*pushes, *(("LTRIM", lane, 0, MOST - 1) for lane in lanes)]


@contextmanager
def _unsent_logged(throttle: LogThrottle) -> Iterator[None]:
    """Log that nudges cannot be sent. The work behind them is on record, so their callers get no error."""
    try:
        with store_errors():
            yield
    except (Unavailable, RedisError, OSError) as error:
        if not throttle.due():
            return
        if isinstance(error, Unavailable):
            log.warning("nudges wait: %s", error.message)
        else:
            log.exception("a nudge could not be sent")


class Nudger:
    """Sends nudges from threads. Workers look without them, too, so no error is raised."""

    def __init__(self, redis: RedisSettings) -> None:
        # Once more where the server was demoted: a connection made then may lead to its successor.
        retry = Retry(NoBackoff(), 1, (ReadOnlyError,))
        self._client: Any = open_client(redis.broker_url, retry=retry, **CONNECTION)
        self._throttle = LogThrottle()

    def send(self, lane: str, count: int = 1) -> bool:
        if lane == BATCH:
            return False
        with _unsent_logged(self._throttle):
            pipeline = self._client.pipeline(transaction=False)
            for command in _commands({lane: count}):
                pipeline.execute_command(*command)
            pipeline.execute()
            return True
        return False

    def listed(self, lane: str) -> int:
        """Nudges of a lane that no worker has taken.

        Raises Unavailable, also where the server could hand none out because it takes no writes.
        """
        # Pushes nothing, as there is no such list, but fails where no writes are taken or memory is full.
        pipeline = self._client.pipeline(transaction=False).lpushx(f"{lane}:none", "").llen(lane)
        with store_errors():
            return int(pipeline.execute()[1])


class AsyncNudger:
    """Sends nudges from asyncio. Workers look without them, too, so no error is raised."""

    def __init__(self, redis: RedisSettings) -> None:
        retry = AsyncRetry(NoBackoff(), 0)
        self._client = open_async_client(redis.broker_url, retry=retry, **CONNECTION)
        self._connection = exchange.Connection(self._client.connection_pool)
        self._throttle = LogThrottle()
        self._due: Counter[str] = Counter()
        self._sender: asyncio.Task[bool] | None = None

    def send(self, lanes: Sequence[str]) -> "asyncio.Future[bool]":
        """Whether they were sent, which nobody needs to wait for."""
        self._due.update(lanes)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return self._sender

    async def _send(self) -> bool:
        sent = False
        try:
            while self._due:
                sent, lanes, self._due = False, self._due, Counter()
                with _unsent_logged(self._throttle):
                    await asyncio.gather(*map(self._connection.send, _commands(lanes)))
                    sent = True
        finally:
            self._sender = None
        return sent

    async def aclose(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        await self._connection.aclose()
        await self._client.aclose()
