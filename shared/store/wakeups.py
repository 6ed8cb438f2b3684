"""Wake-ups: one subscription connection per API process, whatever the number of waiting callers.

The order is subscribe, then read, then wait: what changes between the read and the wait ends the wait at
once. Text comes with its wake-up: who follows a run needs no read while the numbers of its texts have no gap.
A wake-up may be lost (a dropped connection): a gap, a reconnect, which wakes everybody, and a silence each
lead to a read.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.settings import RedisSettings
from shared.store.clients import open_async_client, open_client
from shared.store.keys import channel
from shared.store.script import CONNECTION

log = logging.getLogger("shared.store")
RECONNECT_S = 0.5
PING_S = 5.0
"""A connection silent for this long is asked whether it lives, and given up after twice that."""
CONFIRM_S = 2.0
"""A subscription not confirmed by then is left to the caller's own polling."""
MOST_CHARACTERS = 65_536
"""Of text events that wait for a slow reader; it reads them in the store where there are more."""
NOBODY = channel("nobody")
"""Never published on: keeps the connection in subscriber mode while nobody listens."""


class Listener:
    """What one caller learns of one job or run; see `Wakeups.listen`."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._ends_only = False
        self._texts: list[str] = []
        self._size = 0
        self._is_stale = True

    def notify(self, news: str) -> None:
        """`news` is `state`, `event`, or a text event, as the store writes it."""
        if self._ends_only and news != "state":
            return
        self._size += len(news)
        if news[:1].isdigit() and not self._is_stale and self._size <= MOST_CHARACTERS:
            self._texts.append(news)
        else:
            self._is_stale = True
            self._texts.clear()
        self._news.set()

    def ignore_events(self) -> None:
        """Sleep through events: only the end matters to this caller."""
        self._ends_only = True

    def forget(self) -> None:
        """Drop what came before the caller's first read: it says nothing more than that."""
        self._news.clear()
        self._texts.clear()

    def texts(self) -> list[str] | None:
        """The text events that came since the last call; None where the store is to be read."""
        texts, is_stale = self._texts, self._is_stale
        self._texts, self._size, self._is_stale = [], 0, False
        return None if is_stale else texts

    async def wait(self, timeout_s: float) -> None:
        """Until something came since the last call, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            # A lost wake-up may be why.
            self._is_stale = True
        self._news.clear()


class _Subscription:
    """Who listens on one channel, and how far its subscription has come."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.sent = False
        self.confirmed = asyncio.Event()


def _refusal(error: Exception) -> str:
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
        retry = AsyncRetry(NoBackoff(), 0, supported_errors=())
        options = CONNECTION | {"socket_timeout": None, "retry": retry}
        self._client: Any = open_async_client(redis.store_url, **options)
        self._pubsub: PubSub | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        # SUBSCRIBE and UNSUBSCRIBE of one channel must leave in the order in which they were decided.
        self._sending = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._warning = ""

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
        """Learn of changes of one job or run. Inside, read first, then wait."""
        address, listener = channel(name), Listener()
        subscription = self._subscriptions.setdefault(address, _Subscription())
        subscription.listeners.add(listener)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_S):
                    await self._subscribe(address)
                    await subscription.confirmed.wait()
            listener.forget()
            yield listener
        finally:
            subscription.listeners.discard(listener)
            if not subscription.listeners:
                del self._subscriptions[address]
                await self._unsubscribe(address)

    async def _subscribe(self, address: str) -> None:
        async with self._sending:
            subscription = self._subscriptions.get(address)
            if self._pubsub and subscription and not subscription.sent:
                with suppress(RedisError):
                    await self._pubsub.subscribe(address)
                    subscription.sent = True

    async def _unsubscribe(self, address: str) -> None:
        async with self._sending:
            if self._pubsub and address not in self._subscriptions:
                with suppress(RedisError):
                    await self._pubsub.unsubscribe(address)

    async def _read(self) -> None:
        while True:
            pubsub = self._client.pubsub()
            try:
                await self._receive(pubsub)
            except (RedisError, TimeoutError) as error:
                self._warn(_refusal(error))
            except Exception:
                # The outermost frame of this task: were it to end, this process would only poll from then on.
                log.exception("the subscription connection failed")
            finally:
                await self._close(pubsub)
            await asyncio.sleep(RECONNECT_S)

    def _warn(self, refusal: str) -> None:
        """Once per outage, not at each try."""
        if refusal != self._warning:
            log.warning("wake-ups wait: the record store %s", refusal)
        self._warning = refusal

    async def _close(self, pubsub: PubSub) -> None:
        async with self._sending:
            self._pubsub = None
            with suppress(RedisError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _receive(self, pubsub: PubSub) -> None:
        async with self._sending:
            subscriptions = dict(self._subscriptions)
            # Whoever stops listening waits for this, too: a server that hangs must not hold it up for ever.
            async with asyncio.timeout(CONFIRM_S):
                await pubsub.subscribe(NOBODY, *subscriptions)
            for subscription in subscriptions.values():
                subscription.sent = True
            self._pubsub = pubsub
        last = time.monotonic()
        while time.monotonic() - last < 2 * PING_S:
            message = await pubsub.get_message(timeout=PING_S)
            if message is None:
                async with self._sending:
                    await pubsub.ping()
            else:
                last, self._warning = time.monotonic(), ""
                self._deliver(message)
        raise RedisConnectionError("the subscription connection is silent")

    def _deliver(self, message: dict[str, Any]) -> None:
        subscription = self._subscriptions.get(message["channel"])
        if subscription is None or message["type"] not in ("subscribe", "message"):
            return
        news = message["data"]
        if message["type"] == "subscribe":
            subscription.confirmed.set()
            news = "state"
        for listener in subscription.listeners:
            listener.notify(news)


class WorkerWakeup:
    """A worker thread's own subscription: a cancelled run is known at once, not at the next renewal."""

    def __init__(self, redis: RedisSettings, worker: str) -> None:
        self._address = channel(worker)
        subscriber: Any = open_client(redis.store_url, **CONNECTION)
        self._pubsub = subscriber.pubsub(ignore_subscribe_messages=True)

    def wait(self, timeout_s: float) -> bool:
        """Until a message came or the time is over; False at once where the store is out of reach."""
        try:
            if not self._pubsub.subscribed:
                self._pubsub.subscribe(self._address)
            self._pubsub.get_message(timeout=timeout_s)
        except RedisError:
            return False
        return True
