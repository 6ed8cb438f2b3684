"""Wake-ups: one subscription connection per API process, whatever the number of waiting callers.

The order is subscribe, then read, then wait: what changes between the read and the wait has already been
heard. A wake-up may be lost (a dropped connection), so whoever waits reads again after a while all the same;
after a reconnect everybody is woken once.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.settings import RedisSettings
from shared.store.keys import channel
from shared.store.script import CONNECTION

RECONNECT_S = 0.5
CONFIRM_S = 2.0
"""A subscription not confirmed by then is left to the caller's own polling."""


class Listener:
    """One caller's ear on one job or run; see `Wakeups.listen`."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._ends_only = False

    def notify(self, kind: str) -> None:
        if kind != "text" or not self._ends_only:
            self._heard.set()

    def ignore_text(self) -> None:
        """Sleep through text events: only a change of state matters to this caller."""
        self._ends_only = True

    async def wait(self, timeout_s: float) -> None:
        """Until something was heard since the last call, or the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), timeout_s)
        self._heard.clear()


class Wakeups:
    """Shares one subscription connection among all listeners of a process."""

    def __init__(self, redis: RedisSettings) -> None:
        options = CONNECTION | {"socket_timeout": None}
        self._client: AsyncRedis = AsyncRedis.from_url(redis.url.get_secret_value(), **options)
        self._pubsub: PubSub = self._client.pubsub()
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._confirmed: dict[str, asyncio.Event] = {}
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._reader = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        if self._reader:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._client.aclose()

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[Listener]:
        """Hear changes of one job or run. Inside, read first, then wait."""
        listener = Listener()
        address = channel(name)
        first = address not in self._listeners
        self._listeners[address].add(listener)
        try:
            await self._subscribed(address, first)
            yield listener
        finally:
            await self._drop(address, listener)

    async def _subscribed(self, address: str, first: bool) -> None:
        if first:
            self._confirmed[address] = asyncio.Event()
            with suppress(RedisError):
                await self._pubsub.subscribe(address)
        confirmed = self._confirmed.get(address)
        if confirmed:
            with suppress(TimeoutError):
                await asyncio.wait_for(confirmed.wait(), CONFIRM_S)

    async def _drop(self, address: str, listener: Listener) -> None:
        self._listeners[address].discard(listener)
        if not self._listeners[address]:
            del self._listeners[address]
            self._confirmed.pop(address, None)
            with suppress(RedisError):
                await self._pubsub.unsubscribe(address)

    async def _read(self) -> None:
        while True:
            try:
                # A channel nobody publishes on keeps the connection subscribed while no one listens.
                await self._pubsub.subscribe(channel("nobody"))
                async for message in self._pubsub.listen():
                    self._deliver(message)
            except RedisError:
                await asyncio.sleep(RECONNECT_S)
                self._wake_all()

    def _deliver(self, message: dict[str, str]) -> None:
        address = message["channel"]
        if message["type"] == "subscribe":
            if address in self._confirmed:
                self._confirmed[address].set()
        elif message["type"] == "message":
            for listener in tuple(self._listeners.get(address, ())):
                listener.notify(message["data"])

    def _wake_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.notify("state")


class WorkerWakeup:
    """A worker thread's ear on changes of its own claims."""

    def __init__(self, redis: RedisSettings, worker: str) -> None:
        self._address = channel(worker)
        client: Any = Redis.from_url(redis.url.get_secret_value(), **CONNECTION)
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)

    def wait(self, timeout_s: float) -> bool:
        """Until something was heard or the time is over; False at once where the store is out of reach."""
        try:
            if not self._pubsub.subscribed:
                self._pubsub.subscribe(self._address)
            self._pubsub.get_message(timeout=timeout_s)
        except RedisError:
            return False
        return True
