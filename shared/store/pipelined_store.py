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
from shared.store.acknowledgement import LIMIT_S, Acknowledgement, Unacknowledged
from shared.store.script import ScriptCall, Store, acknowledgement, connect

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
    """Runs calls from threads; what they ask during an exchange goes together in the next.

    The first thread of an exchange receives its replies, and sends what waits before it hands them out: so
    the store works while this process does. A thread of its own for that would cost each call two switches
    of threads.
    """

    limit_s = EXCHANGE_S

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self._behind = b""
        self._connection: Any = None
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self._sent: list[_Request] = []
        self._waiting: list[_Request] = []

    def run(self, call: ScriptCall[T]) -> T:
        return self.run_all([call])[0]

    def _answers(self, calls: Sequence[ScriptCall[Any]]) -> Sequence[Any]:
        request = _Request(calls)
        with self._lock:
            self._waiting.append(request)
            if begins := not self._sent:
                self._sent, self._waiting = self._waiting, []
        if not begins:
            request.wake_up.acquire()
        if request.replies is None:
            self._receive(begins=begins)
        return request.replies or ()

    def _receive(self, *, begins: bool) -> None:
        """Hand out the replies to what was sent, or where an exchange `begins` is to be sent first."""
        batch = self._sent
        # For the other threads, if a signal ends the exchange in this one.
        replies: list[Any] = [RedisConnectionError("The exchange was interrupted.")] * sum(
            request.count for request in batch
        )
        try:
            if begins:
                self._send(batch)
            replies = self._read_all(len(replies))
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
            self._sent, self._waiting = following, _ = self._waiting, []
        try:
            if following:
                self._send(following)
        finally:
            for request in (*batch[1:], *following[:1]):
                request.wake_up.release()

    def _send(self, batch: Sequence[_Request]) -> None:
        try:
            self._connection = self._connection or self._new_connection()
            self._connection.send_packed_command(
                [b"".join(request.packed for request in batch) + self._behind]
            )
            self._failure = None
        except Exception as error:
            # The outermost frame of an exchange: the other threads wait for an answer, whatever went wrong.
            self._failure = error

    def _read_all(self, count: int) -> list[Any]:
        """The replies, errors among them; all are errors where the store is out of reach."""
        try:
            return [self._failure or self._read() for _ in range(count)]
        except Exception as error:
            return [error] * count

    def _new_connection(self) -> Any:
        # One of the pool's, which closes it.
        connection = self.client.connection_pool.get_connection()
        connection.disconnect()
        connection.socket_timeout = self.limit_s
        return connection

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error


class AcknowledgedStore(PipelinedStore):
    """Each exchange waits for its acknowledgement."""

    limit_s = EXCHANGE_S + LIMIT_S

    def __init__(self, client: Redis, acknowledgement: Acknowledgement) -> None:
        super().__init__(client)
        self._acknowledgement: Acknowledgement = acknowledgement
        self._behind = acknowledgement.packed

    def _answers(self, calls: Sequence[ScriptCall[Any]]) -> Sequence[Any]:
        replies = super()._answers(calls)
        for reply in replies:
            if isinstance(reply, Unacknowledged):
                raise reply
        return replies

    def _read_all(self, count: int) -> list[Any]:
        replies = super()._read_all(count + len(self._acknowledgement.commands))
        answers = self._acknowledgement.checked(replies)
        self._behind = self._acknowledgement.packed
        return answers


class PartlyAcknowledgedStore(PipelinedStore):
    """Calls whose reply is reported have exchanges of their own, for which leases and streams do not wait."""

    def __init__(self, client: Redis, acknowledgement: Acknowledgement) -> None:
        super().__init__(client)
        self._reported = AcknowledgedStore(client, acknowledgement)

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        return (
            self._reported.run_all(calls) if any(call.reported for call in calls) else super().run_all(calls)
        )


def connect_pipelined(redis: RedisSettings) -> PipelinedStore:
    """As `connect`."""
    client, needed = connect(redis).client, acknowledgement(redis)
    return PartlyAcknowledgedStore(client, needed) if needed else PipelinedStore(client)
