"""Exchanges with Redis from asyncio: what is asked at the same time shares one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import hiredis
from redis.asyncio import ConnectionPool
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")
R = TypeVar("R")
LONGEST_S = 6.0
"""After this long a caller is told that the store hangs, whatever the client's own retries do.

It is counted in halves: if this process stands still, however long, the store loses at most one of them.
"""


class Limit:
    """Ends an answer that does not come within LONGEST_S."""

    def __init__(self, answer: "asyncio.Future[Any]") -> None:
        self._answer = answer
        self._timer = asyncio.get_running_loop().call_later(LONGEST_S / 2, self._begin_second_half)

    def cancel(self) -> None:
        self._timer.cancel()

    def _begin_second_half(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LONGEST_S / 2, self._end)

    def _end(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(RedisTimeoutError("the record store hangs"))


class Pipelining(Generic[T, R]):
    """Sends items that come during an exchange with Redis together, in the next one.

    An exchange costs the calling process more, in system calls and bookkeeping, than most commands cost the
    server: a busy process pays once for many, and no item waits longer than for the exchange before its own.
    """

    LARGEST = 64

    def __init__(self, exchange: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        """`exchange` answers a batch in its order; an exception among the answers is that of its item."""
        self._exchange = exchange
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def ask(self, item: T) -> R:
        """The answer; after LONGEST_S raises RedisTimeoutError."""
        answer = self.send(item)
        limit = Limit(answer)
        try:
            return await answer
        finally:
            limit.cancel()

    def send(self, item: T) -> "asyncio.Future[R]":
        """The answer to come; cancelled where this is closed."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        if self._closed:
            answer.cancel()
            return answer
        self._waiting.append((item, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return answer

    async def aclose(self) -> None:
        """End the exchange under way, and begin no other."""
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        # A sender that was cancelled before its first step has cancelled none.
        for _, answer in self._waiting:
            answer.cancel()

    async def _send(self) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                # Calls that are being made right now come along.
                await asyncio.sleep(0)
                batch, self._waiting = self._waiting[: self.LARGEST], self._waiting[self.LARGEST :]
                try:
                    replies = await self._exchange([item for item, _ in batch])
                except Exception as error:
                    replies = [error] * len(batch)
                for (_, answer), reply in zip(batch, replies, strict=True):
                    _resolve(answer, reply)
        finally:
            self._sender = None
            # Only where the process is stopping.
            for _, answer in (*batch, *self._waiting):
                answer.cancel()


def _resolve(answer: "asyncio.Future[R]", reply: R | Exception) -> None:
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


class Connection:
    """A connection for nothing but `call`. redis-py makes it, and makes it again where it is lost; its
    pipelines, which do the same, cost the calling process twice as much.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        # `call` has a limit for all of it.
        self._connection.socket_timeout = None

    async def call(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Their replies, errors among them. Raises RedisError."""
        packed = b"".join(map(hiredis.pack_command, commands))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                half = loop.call_later(LONGEST_S / 2, lambda: limit.reschedule(loop.time() + LONGEST_S / 2))
                try:
                    replies: list[Any] = await self._connection.retry.call_with_retry(
                        lambda: self._exchange(packed, len(commands)), self._drop
                    )
                    return replies
                finally:
                    half.cancel()
        except TimeoutError:
            raise RedisTimeoutError("the record store hangs") from None

    async def aclose(self) -> None:
        await self._connection.disconnect()

    async def _drop(self, error: Exception) -> None:
        del error
        await self._connection.disconnect(nowait=True)

    async def _exchange(self, packed: bytes, count: int) -> list[Any]:
        replies: list[Any] = []
        try:
            await self._connection.send_packed_command(packed)
            while len(replies) < count:
                try:
                    replies.append(await self._connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException:
            # Replies that nobody reads must not be taken for those of the next exchange.
            await self._connection.disconnect(nowait=True)
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # A server that was demoted keeps its connections; a new one may lead to its successor.
            await self._connection.disconnect(nowait=True)
        return replies
