"""Wake-ups: one subscription connection per API process, whatever the number of waiting callers.

The order is subscribe, then read, then wait: what changes between the read and the wait has already been
heard. A wake-up may be lost (a dropped connection), so whoever waits reads again after a while all the same;
after a reconnect everybody is woken once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.settings import RedisSettings
from shared.store.keys import channel
from shared.store.script import CONNECTION

log = logging.getLogger("shared.store")
RECONNECT_S = 0.5
PING_S = 5.0
"""A connection silent for this long is asked whether it lives, and given up after twice that."""
CONFIRM_S = 2.0
"""A subscription not confirmed by then is left to the caller's own polling."""
NOBODY = channel("nobody")
"""Never published on: keeps the connection in subscriber mode while nobody listens."""


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

    def forget(self) -> None:
        """Drop what was heard before the caller's first read: it tells the caller nothing."""
        self._heard.clear()

    async def wait(self, timeout_s: float) -> None:
        """Until something was heard since the last call, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        self._heard.clear()


class _Channel:
    """Who listens on one channel, and how far its subscription has come."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.sent = False
        self.confirmed = asyncio.Event()


def _standing(error: RedisError) -> str:
    """Why the store does not serve us: a refusal is not to be looked for in the network."""
    if isinstance(error, AuthenticationError):
        return "refuses our password, or wants one"
    if isinstance(error, NoPermissionError):
        return "does not let our user do what we ask"
    return "is out of reach"


class Wakeups:
    """Shares one subscription connection among all listeners of a process."""

    def __init__(self, redis: RedisSettings) -> None:
        # A lost connection must be seen, not mended behind our back: its listeners have to be woken. Without
        # supported errors the client does not reconnect by itself.
        options = CONNECTION | {
            "socket_timeout": None,
            "retry": AsyncRetry(NoBackoff(), 0, supported_errors=()),
        }
        self._client: Any = AsyncRedis.from_url(redis.store_url, **options)
        self._pubsub: PubSub | None = None
        self._channels: dict[str, _Channel] = {}
        # SUBSCRIBE and UNSUBSCRIBE of one channel must leave in the order in which they were decided.
        self._sending = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._told_away = ""

    async def open(self) -> None:
        self._reader = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        if self._reader:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        await self._client.aclose()

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[Listener]:
        """Hear changes of one job or run. Inside, read first, then wait."""
        address, listener = channel(name), Listener()
        heard_on = self._channels.setdefault(address, _Channel())
        heard_on.listeners.add(listener)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_S):
                    await self._subscribe(address)
                    await heard_on.confirmed.wait()
            listener.forget()
            yield listener
        finally:
            heard_on.listeners.discard(listener)
            if not heard_on.listeners:
                del self._channels[address]
                await self._unsubscribe(address)

    async def _subscribe(self, address: str) -> None:
        async with self._sending:
            wanted = self._channels.get(address)
            if self._pubsub and wanted and not wanted.sent:
                with suppress(RedisError):
                    await self._pubsub.subscribe(address)
                    wanted.sent = True

    async def _unsubscribe(self, address: str) -> None:
        async with self._sending:
            if self._pubsub and address not in self._channels:
                with suppress(RedisError):
                    await self._pubsub.unsubscribe(address)

    async def _read(self) -> None:
        while True:
            pubsub = self._client.pubsub()
            try:
                await self._hear(pubsub)
            except RedisError as error:
                self._tell_away(_standing(error))
            except Exception:
                # The outermost frame of this task: were it to end, this process would only poll from then on.
                log.exception("the subscription connection failed")
            finally:
                await self._close(pubsub)
            await asyncio.sleep(RECONNECT_S)

    def _tell_away(self, standing: str) -> None:
        """Warn once per outage, not at each try."""
        if standing != self._told_away:
            log.warning("wake-ups wait: the record store %s", standing)
        self._told_away = standing

    async def _close(self, pubsub: PubSub) -> None:
        async with self._sending:
            self._pubsub = None
            with suppress(RedisError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _hear(self, pubsub: PubSub) -> None:
        async with self._sending:
            wanted = dict(self._channels)
            await pubsub.subscribe(NOBODY, *wanted)
            for found in wanted.values():
                found.sent = True
            self._pubsub = pubsub
        heard = time.monotonic()
        while time.monotonic() - heard < 2 * PING_S:
            message = await pubsub.get_message(timeout=PING_S)
            if message is None:
                async with self._sending:
                    await pubsub.ping()
            else:
                heard, self._told_away = time.monotonic(), ""
                self._deliver(message)
        raise RedisConnectionError("the subscription connection is silent")

    def _deliver(self, message: dict[str, Any]) -> None:
        found = self._channels.get(message["channel"])
        if found is None or message["type"] not in ("subscribe", "message"):
            return
        subscribed = message["type"] == "subscribe"
        if subscribed:
            found.confirmed.set()
        for listener in found.listeners:
            listener.notify("state" if subscribed else message["data"])
