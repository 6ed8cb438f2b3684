"""The record store for a process of many threads: what they ask at the same time shares a round trip."""

import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar

import hiredis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared.settings import RedisSettings
from shared.store.script import ScriptCall, Store, connect

T = TypeVar("T")
EXCHANGE_S = 2.0
"""After so long without a reply each call is run by itself, which may take several times as long again."""


class _Request:
    """Commands of one thread, which sleeps until they are answered, or it is to send."""

    def __init__(self, calls: Sequence[ScriptCall[Any]]) -> None:
        self.packed = b"".join(hiredis.pack_command(call.command) for call in calls)
        self.count = len(calls)
        self.replies: Sequence[Any] | None = None
        self.wake_up = threading.Lock()
        self.wake_up.acquire()


class PipelinedStore(Store):
    """Runs calls from threads, of which the first that waits sends what all of them ask.

    An exchange costs the process more than most commands cost the server, and a thread of its own for them
    would cost each call two switches of threads.
    """

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self._connection: Any = None
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []

    def run(self, call: ScriptCall[T]) -> T:
        return self.run_all([call])[0]

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        replies = self._replies(_Request(calls))
        # What failed is run again by itself, which is safe, and there ends well or with its error.
        return [
            super(PipelinedStore, self).run(call) if isinstance(reply, Exception) else call.parse(reply)
            for call, reply in zip(calls, replies, strict=True)
        ]

    def _replies(self, request: _Request) -> Sequence[Any]:
        with self._lock:
            self._waiting.append(request)
            is_first = len(self._waiting) == 1
        if not is_first:
            request.wake_up.acquire()
        if request.replies is None:
            self._send()
        return request.replies or ()

    def _send(self) -> None:
        """Send what waits, hand out the replies, and wake the next sender."""
        with self._lock:
            batch = list(self._waiting)
        # For the other threads, if a signal ends the exchange in this one.
        replies: list[Any] = [RedisConnectionError("The exchange was interrupted.")] * sum(
            r.count for r in batch
        )
        try:
            replies = self._exchange([request.packed for request in batch], len(replies))
        finally:
            if self._connection and any(isinstance(reply, Exception) for reply in replies):
                # A server that was demoted keeps its connections; a new one may lead to its successor.
                self._connection.disconnect()
            self._hand_out(batch, replies)

    def _hand_out(self, batch: Sequence[_Request], replies: Sequence[Any]) -> None:
        left = iter(replies)
        for request in batch:
            request.replies = list(islice(left, request.count))
        with self._lock:
            del self._waiting[: len(batch)]
            woken = [*batch[1:], *self._waiting[:1]]
        for request in woken:
            request.wake_up.release()

    def _exchange(self, packed: Sequence[bytes], count: int) -> list[Any]:
        """The replies, errors among them; all are errors where the store is out of reach."""
        try:
            self._connection = self._connection or self._new_connection()
            self._connection.send_packed_command([b"".join(packed)])
            return [self._read() for _ in range(count)]
        except Exception as error:
            # The other threads wait for an answer, whatever went wrong.
            return [error] * count

    def _new_connection(self) -> Any:
        # One of the pool's, which closes it.
        connection = self.client.connection_pool.get_connection()
        connection.disconnect()
        connection.socket_timeout = EXCHANGE_S
        return connection

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error


def connect_pipelined(redis: RedisSettings) -> PipelinedStore:
    """As `connect`."""
    return PipelinedStore(connect(redis).client)
