"""Sends concurrent calls to Redis together, in one exchange.

An exchange with Redis costs the calling process more, in system calls and bookkeeping, than most commands
cost the server. Calls made during an exchange leave together with the next, in one write: none waits longer
than for the exchange before it, and a busy process pays once for many.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
LARGEST = 64


class Gathering(Generic[T, R]):
    """`exchange` answers a batch in its order; an exception among the answers is raised to its asker."""

    def __init__(self, exchange: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        self._exchange = exchange
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def ask(self, item: T) -> R:
        """Raises CancelledError once this is closed."""
        if self._closed:
            raise asyncio.CancelledError
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await answer

    async def aclose(self) -> None:
        """Ends the exchange under way: a thread may ask until its loop is gone."""
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])

    async def _send(self) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                replies = await self._replies([item for item, _ in batch])
                for (_, answer), reply in zip(batch, replies, strict=True):
                    _resolve(answer, reply)
        finally:
            self._sender = None
            # Only where the process is stopping.
            for _, answer in (*batch, *self._waiting):
                answer.cancel()

    async def _replies(self, items: Sequence[T]) -> Sequence[R | Exception]:
        try:
            return await self._exchange(items)
        except Exception as error:
            # The error is that of every item in this exchange, but not of those that wait for the next.
            return [error] * len(items)


def _resolve(answer: asyncio.Future[R], reply: R | Exception) -> None:
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)
