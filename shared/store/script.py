"""A transition: a function of the library, its arguments, and how its reply is read. Written once, run from
threads and from asyncio alike.

Every function is safe to repeat, because replies get lost: the clients retry on a broken connection.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from pydantic_core import to_json
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.errors import Unavailable
from shared.offload import offload_if_large
from shared.settings import RedisSettings
from shared.store.gathering import Gathering
from shared.store.keys import PREFIX
from shared.store.library import LIBRARY

T = TypeVar("T")
LOST = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError)

# Errors of a server that cannot save (a full disk) or has too few replicas, and of one that is busy or has no
# master; redis-py has no class of its own for these.
UNWRITABLE = ("MISCONF", "NOREPLICAS")
NOT_NOW = (*UNWRITABLE, "BUSY", "MASTERDOWN")
UNKNOWN = "Function not found"
LOADED = "already exists"
LONGEST_CALL_S = 6.0
"""After this long a caller is told that the store hangs, whatever the client's own retries do.

It is counted in halves: if this process stands still, however long, the store loses at most one of them.
"""


class Script:
    """One function of the library, by the name under which its server knows it."""

    def __init__(self, name: str) -> None:
        """Raises KeyError where the library has no such function."""
        if name not in LIBRARY.functions:
            raise KeyError(name)
        self.name = name
        self.function = f"{LIBRARY.name}_{name}"
        self.parameters = LIBRARY.functions[name]


@dataclass(frozen=True)
class ScriptCall(Generic[T]):
    """One use of a function. Arguments that are None are left out; `text` is stored as it is.

    `constants` are the settings that functions read (`shared.store.constants`), `size` tells how many bytes
    of a reply are in records that may be large.
    """

    script: Script
    arguments: Mapping[str, Any]
    parse: Callable[[Any], T]
    text: str = ""
    size: Callable[[Any], int] = lambda _: 0
    constants: str = ""

    @property
    def argv(self) -> tuple[Any, ...]:
        """The number of keys, a test's clock as the only one, and the arguments."""
        if self.script.parameters is None:
            given = {name: value for name, value in self.arguments.items() if value is not None}
            return 0, self.constants, to_json(given), self.text
        values = [_positional(self.arguments.get(name)) for name in self.script.parameters]
        keys = [f"{PREFIX}{self.arguments['now']}"] if "now" in self.arguments else []
        return len(keys), *keys, self.constants, *values, self.text


def _positional(value: Any) -> Any:
    """An argument by its place; an empty one is absent."""
    if value is None or value is False:
        return ""
    if value is True:
        return 1
    return value if isinstance(value, str | int | float) else to_json(value)


class _Asked(NamedTuple):
    """What is sent of a call. Made before the call shares an exchange with others, because that may raise."""

    script: Script
    argv: tuple[Any, ...]


class WritesRefused(Unavailable):
    """The record store answers, but takes no writes now."""

    def __init__(self) -> None:
        # "Out of reach" would make operators look for the cause in the network.
        message = "The record store takes no writes now; try again."
        super().__init__("store_unavailable", message, retry_after=5)


def _unavailable(error: RedisError) -> Unavailable:
    if isinstance(error, OutOfMemoryError):
        return Unavailable("store_unavailable", "The record store is full; try again later.", retry_after=30)
    if isinstance(error, ReadOnlyError) or any(word in str(error) for word in UNWRITABLE):
        return WritesRefused()
    return Unavailable("store_unavailable", "The record store is out of reach; try again.", retry_after=5)


@contextmanager
def reaching() -> Iterator[None]:
    """Around commands of the record store. Raises Unavailable where it is away, full or takes no writes."""
    try:
        yield
    except LOST as error:
        raise _unavailable(error) from error
    except ResponseError as error:
        if any(word in str(error) for word in NOT_NOW):
            raise _unavailable(error) from error
        raise


def _is_unknown(reply: object) -> bool:
    return isinstance(reply, ResponseError) and UNKNOWN in str(reply)


@contextmanager
def _loading() -> Iterator[None]:
    """Around the loading of the library. Another process may have loaded it a moment ago."""
    try:
        yield
    except ResponseError as error:
        if LOADED not in str(error):
            raise


class Store:
    """Runs calls from threads."""

    def __init__(self, client: Redis) -> None:
        # redis-py types every reply as "sync or async"; the scripts' parsers know better.
        self.client: Any = client

    def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`."""
        with reaching():
            try:
                reply = self._reply(call)
            except ReadOnlyError:
                # A server that was demoted keeps its connections; new ones may lead to its successor.
                self.client.connection_pool.disconnect(inuse_connections=False)
                raise
        return call.parse(reply)

    def _reply(self, call: ScriptCall[T]) -> Any:
        try:
            return self.client.fcall(call.script.function, *call.argv)
        except ResponseError as error:
            if UNKNOWN not in str(error):
                raise
        with _loading():
            self.client.function_load(LIBRARY.code)
        return self.client.fcall(call.script.function, *call.argv)

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        """Run calls in one round trip. Raises as `run` does; which of them ran is then unknown."""
        pipeline = self.client.pipeline(transaction=False)
        for call in calls:
            pipeline.fcall(call.script.function, *call.argv)
        with reaching():
            replies = pipeline.execute(raise_on_error=False)
        # A failed call is run again by itself, which is safe, and raises its own error.
        return [
            self.run(call) if isinstance(reply, RedisError) else call.parse(reply)
            for call, reply in zip(calls, replies, strict=True)
        ]


class AsyncStore:
    """Runs calls from asyncio; simultaneous ones share a round trip."""

    def __init__(self, client: AsyncRedis) -> None:
        self.client: Any = client
        self._gathering: Gathering[_Asked, Any] = Gathering(self._exchange)

    async def aclose(self) -> None:
        """End calls under way, which are cancelled, and close the connections."""
        await self._gathering.aclose()
        await self.client.aclose()

    async def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`, CancelledError where this is closed."""
        asked = _Asked(call.script, call.argv)
        with reaching():
            try:
                reply = await self._reply(asked)
            except TimeoutError:
                raise RedisTimeoutError("the record store hangs") from None
        return await offload_if_large(lambda: call.parse(reply), call.size(reply))

    async def _reply(self, asked: _Asked) -> Any:
        """Raises TimeoutError."""
        loop, half_s = asyncio.get_running_loop(), LONGEST_CALL_S / 2
        async with asyncio.timeout(LONGEST_CALL_S) as limit:
            half = loop.call_later(half_s, lambda: limit.reschedule(loop.time() + half_s))
            try:
                return await self._gathering.ask(asked)
            finally:
                half.cancel()

    async def _exchange(self, calls: Sequence[_Asked]) -> Sequence[Any]:
        try:
            replies = await self._replies(calls)
            unknown = [at for at, reply in enumerate(replies) if _is_unknown(reply)]
            if unknown:
                with _loading():
                    await self.client.function_load(LIBRARY.code)
                again = await self._replies([calls[at] for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                # As in `Store.run`.
                await self.client.connection_pool.disconnect(inuse_connections=False)
        except RedisError as error:
            return [error] * len(calls)
        return replies

    async def _replies(self, calls: Sequence[_Asked]) -> list[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for call in calls:
            pipeline.fcall(call.script.function, *call.argv)
        return cast("list[Any]", await pipeline.execute(raise_on_error=False))


class Runs(Protocol):
    """Whatever runs calls for a thread."""

    def run(self, call: ScriptCall[T]) -> T: ...


LOOP_LOOKED_AT_S = 1.0
"""How often a thread that waits for the event loop looks whether the loop still runs."""


class LoopStore:
    """Runs threads' calls on the event loop's store, and thus on its connection."""

    def __init__(self, store: AsyncStore) -> None:
        """To be made in that loop."""
        self._store = store
        self._loop = asyncio.get_running_loop()

    def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`, also where the loop ends before the answer is there."""
        ending = Unavailable("store_unavailable", "This process is ending.", retry_after=5)
        running = self._store.run(call)
        try:
            return self._answer(asyncio.run_coroutine_threadsafe(running, self._loop))
        except CancelledError:
            raise ending from None
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # The loop was closed a moment ago, and did not take the call.
            running.close()
            raise ending from None

    def _answer(self, asked: "Future[T]") -> T:
        """Raises CancelledError, also where the loop was closed without cancelling the call."""
        while True:
            try:
                return asked.result(LOOP_LOOKED_AT_S)
            except TimeoutError:
                if self._loop.is_closed():
                    raise CancelledError from None


CONNECTION: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}


def connect(redis: RedisSettings) -> Store:
    """A client for threads. Scripts are safe to repeat, so a lost reply is asked for again."""
    retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), 3)
    return Store(Redis.from_url(redis.store_url, retry=retry, **CONNECTION))


def connect_async(redis: RedisSettings) -> AsyncStore:
    """A client for asyncio. Scripts are safe to repeat, so a lost reply is asked for again."""
    retry = AsyncRetry(ExponentialBackoff(cap=0.5, base=0.05), 3)
    client = AsyncRedis.from_url(redis.store_url, retry=retry, max_connections=512, **CONNECTION)
    return AsyncStore(client)
