"""A transition: a function of the library, its arguments, and how its reply is read. Written once, run from
threads and from asyncio alike.

The library is one of Redis Functions, sent to whichever server lacks it. Its name holds a digest of the
code, so two releases on one server each have their own. Every function is safe to repeat, because replies
get lost: the clients retry on a broken connection.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic_core import to_json
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.errors import Unavailable
from shared.offload import SMALL, offload_if_large
from shared.settings import RedisSettings
from shared.store.acknowledgement import GONE_S, REPORTED, Acknowledgement, StoreUnreachable
from shared.store.clients import open_async_client, open_client
from shared.store.exchange import LONGEST_S, Connection, demoted
from shared.store.job_ends import own_reply
from shared.store.layout import check_async_connection, check_connection
from shared.value_object import value_object

T = TypeVar("T")
R = TypeVar("R")
FOLDER = Path(__file__).parent / "functions"
BASE = "base"
LOST = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, MasterDownError)

# Errors of a server that cannot save (a full disk) or has too few replicas, and of one that is busy; redis-py
# has no class of its own for these.
UNWRITABLE = ("MISCONF", "NOREPLICAS")
NOT_NOW = (*UNWRITABLE, "BUSY")
UNKNOWN = "Function not found"


class Library:
    """The files of a folder as one library: `base` first, each other one a block with a table of its name."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.lua"))}
        base = files.pop(BASE)
        tables = (f"local {name.title().replace('_', '')} = {{}}" for name in files)
        code = "\n".join([*tables, base, *(f"do\n{block}end" for block in files.values())])
        digest = hashlib.sha1(code.encode(), usedforsecurity=False).hexdigest()[:10]
        self.name = f"sl_{digest}"
        self.code = f"#!lua name={self.name}\n{code.replace('@NAME@', self.name)}"


LIBRARY = Library()


@value_object
class ScriptCall(Generic[T]):
    """One use of a function of the library. Arguments that are None are left out; `text` is stored as it is.

    `constants` are the settings that functions read (`shared.store.constants`), `size` tells how many bytes
    of a reply are in records that may be large.
    """

    function: str
    arguments: Mapping[str, Any]
    parse: Callable[[Any], T]
    text: str = ""
    size: Callable[[Any], int] = lambda _: 0
    constants: str = ""

    @property
    def command(self) -> tuple[Any, ...]:
        """FCALL, the function, no keys, the settings, the arguments as JSON, and the text."""
        arguments = {name: value for name, value in self.arguments.items() if value is not None}
        return "FCALL", f"{LIBRARY.name}_{self.function}", 0, self.constants, to_json(arguments), self.text

    @property
    def reported(self) -> bool:
        """Whether somebody outside gets the reply."""
        return self.function in REPORTED


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
    return StoreUnreachable()


@contextmanager
def store_errors() -> Iterator[None]:
    """Around commands of the record store. Raises Unavailable where it is away, full or takes no writes."""
    try:
        yield
    except RedisError as error:
        if isinstance(error, LOST) or any(word in str(error) for word in NOT_NOW):
            raise _unavailable(error) from error
        raise


def _is_unknown(reply: object) -> bool:
    return isinstance(reply, ResponseError) and UNKNOWN in str(reply)


class Store:
    """Runs calls from threads."""

    def __init__(self, client: Redis, acknowledgement: Acknowledgement | None = None) -> None:
        # redis-py types every reply as "sync or async"; the scripts' parsers know better.
        self.client: Any = client
        self._acknowledgement = acknowledgement

    def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`."""
        command = call.command
        execute = (
            self._acknowledged if self._acknowledgement and call.reported else self.client.execute_command
        )
        with store_errors():
            try:
                reply = execute(*command)
            except ResponseError as error:
                if not _is_unknown(error):
                    raise
                self.client.function_load(LIBRARY.code, replace=True)
                reply = execute(*command)
        return call.parse(own_reply(reply))

    def _acknowledged(self, *command: Any) -> Any:
        acknowledgement = cast(Acknowledgement, self._acknowledgement)
        # Known before the call, so that it need not be repeated.
        acknowledgement.asked = self.client.execute_command(*acknowledgement.mark)
        pipeline = self.client.pipeline(transaction=False)
        for each in (command, *acknowledgement.commands):
            pipeline.execute_command(*each)
        (reply,) = acknowledgement.checked(pipeline.execute(raise_on_error=False))
        if isinstance(reply, Exception):
            # A new connection may lead to another server.
            self.client.connection_pool.disconnect(inuse_connections=False)
            raise reply
        return reply

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        """Run calls in one round trip. Raises as `run` does; which of them ran is then unknown."""
        # A failed call is run again by itself, which is safe, and there ends well or with its error.
        return [
            Store.run(self, call) if isinstance(reply, Exception) else call.parse(own_reply(reply))
            for call, reply in zip(calls, self._answers(calls), strict=True)
        ]

    def _answers(self, calls: Sequence[ScriptCall[Any]]) -> Sequence[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*call.command)
        with store_errors():
            return cast(list[Any], pipeline.execute(raise_on_error=False))


class AsyncStore:
    """Runs calls from asyncio; simultaneous ones share a round trip."""

    def __init__(self, client: AsyncRedis, acknowledgement: Acknowledgement | None = None) -> None:
        self.client: Any = client
        self._connection = self._reported = Connection(client.connection_pool)
        if acknowledgement:
            # Its own: other calls do not wait behind it.
            self._reported = Connection(client.connection_pool, acknowledgement)
        self._loading: asyncio.Future[Any] | None = None

    async def aclose(self) -> None:
        """End calls under way, which are cancelled, and close the connections."""
        await self._connection.aclose()
        await self._reported.aclose()
        await self.client.aclose()

    async def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`, CancelledError where this is closed."""
        try:
            reply = await self._reply(self._reported if call.reported else self._connection, call.command)
        except RedisError as error:
            if demoted(error):
                # As the connection for functions, which is closed already.
                await self.client.connection_pool.disconnect(inuse_connections=False)
            with store_errors():
                raise
        reply = own_reply(reply)
        size = call.size(reply)
        return call.parse(reply) if size <= SMALL else await offload_if_large(lambda: call.parse(reply), size)

    async def _reply(self, connection: Connection, command: tuple[Any, ...]) -> Any:
        try:
            return await connection.send(command)
        except ResponseError as error:
            if not _is_unknown(error):
                raise
        if self._loading is None or self._loading.done():
            self._loading = self._connection.send(("FUNCTION", "LOAD", "REPLACE", LIBRARY.code))
        await asyncio.shield(self._loading)
        return await connection.send(command)


class LoopStore:
    """Runs threads' calls on the event loop's store, and thus on its connection."""

    def __init__(self, store: AsyncStore) -> None:
        """To be made in that loop."""
        self._store = store
        self._loop = asyncio.get_running_loop()

    def run(self, call: ScriptCall[T]) -> T:
        """Raises Unavailable `store_unavailable`, or `stopping` if the loop ends before the answer comes."""
        ending = Unavailable("stopping", "This process is stopping; ask again.", retry_after=5)
        coroutine = self._store.run(call)
        try:
            answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            # The loop was closed a moment ago, and did not take the call.
            coroutine.close()
            raise ending from None
        try:
            # The loop may also be closed without cancelling the call.
            return answer.result(2 * LONGEST_S)
        except (CancelledError, TimeoutError):
            raise ending from None


CONNECTION: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
BACKOFF = ExponentialBackoff(cap=0.5, base=0.05)
"""Scripts are safe to repeat, so a lost reply is asked for again, three times."""


def acknowledgement(redis: RedisSettings) -> Acknowledgement | None:
    """What the settings ask for; None where the server's memory is enough."""
    if redis.acknowledge == "memory":
        return None
    mark = ScriptCall("mark_written", {"gone_s": GONE_S if redis.acknowledge == "replica" else None}, int)
    return Acknowledgement(redis.acknowledge, mark.command)


def connect(redis: RedisSettings) -> Store:
    """Return a client for threads, which connects again if its server was demoted."""
    options = CONNECTION | {"retry": Retry(BACKOFF, 3), "retry_on_error": [ReadOnlyError, MasterDownError]}
    client = open_client(redis.store_url, redis_connect_func=check_connection, **options)
    return Store(client, acknowledgement(redis))


def connect_async(redis: RedisSettings) -> AsyncStore:
    """A client for asyncio."""
    options = CONNECTION | {"retry": AsyncRetry(BACKOFF, 3), "max_connections": 512}
    client = open_async_client(redis.store_url, redis_connect_func=check_async_connection, **options)
    return AsyncStore(client, acknowledgement(redis))
