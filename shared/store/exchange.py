"""A connection to Redis from asyncio: commands are written as they come, and answered in their order.

Waiting for one exchange before the next begins would leave this process idle while Redis works, and Redis
while this process does.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MasterDownError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.store.acknowledgement import Acknowledgement, MoreReplicasError, Unacknowledged

LONGEST_S = 6.0
"""After this long, or a third less, a caller is told that the store hangs.

It is counted in thirds: if this process stands still, however long, the store loses at most one of them.
"""
THIRDS = 3
TOGETHER = 8
"""So many commands are written at once; fewer once all that is due now has run."""
MOST_LOST = 3
"""Connections that may be lost without a reply before those who wait are told so."""
LOST_PAUSE_S = 0.05
DEMOTED_S = 1.0
"""A connection younger than this led to no successor of a server that was demoted: its reads go on."""
NONE = object()


@dataclass(slots=True)
class _Call:
    """`begun` is the number of thirds that had passed when it came."""

    packed: bytes
    answer: "asyncio.Future[Any]"
    begun: int


def demoted(reply: object) -> bool:
    """Whether another server may be the primary now: this one is a replica, or lost its own."""
    return isinstance(reply, ReadOnlyError | MasterDownError) or (
        isinstance(reply, RedisError) and str(reply).startswith("NOREPLICAS")
    )


def _resolve(answer: "asyncio.Future[Any]", reply: Any) -> None:
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


class _Link(asyncio.Protocol):
    """One connection that was made, and what was sent on it and not answered yet.

    `replies` are those that wait for their acknowledgement.
    """

    def __init__(self, owner: "Connection", transport: asyncio.Transport) -> None:
        self.transport = transport
        self.sent: deque[_Call] = deque()
        self.replies: list[Any] = []
        self.paused = False
        self.closed = asyncio.Event()
        self._owner = owner
        if owner.acknowledgement:
            owner.acknowledgement.asked = 1
        self._made_at = asyncio.get_running_loop().time()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            encoding="utf-8",
            notEnoughData=NONE,
        )
        transport.set_protocol(self)
        # Else all is written only after what is due in the loop. One of TLS would always count as full.
        if transport.get_extra_info("ssl_object") is None:
            transport.set_write_buffer_limits(0)

    def write(self, calls: Iterable[_Call]) -> None:
        self.sent.extend(calls)
        acknowledgement = self._owner.acknowledgement
        packed = [call.packed for call in calls]
        self.transport.write(b"".join([*packed, acknowledgement.packed] if acknowledgement else packed))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not NONE:
                age_s = asyncio.get_running_loop().time() - self._made_at
                # A server that was demoted keeps its connections; a new one may lead to its successor.
                if isinstance(reply, RedisConnectionError) or (demoted(reply) and age_s > DEMOTED_S):
                    self._owner.lose(self, reply)
                    return
                self._owner.losses = 0
                self._take(reply)
        except InvalidResponse as error:
            self._owner.lose(self, error)
        except ValueError as error:
            # A reply that is no UTF-8 would be none the next time either.
            self._take(error)
            self._owner.lose(self, error)

    def _take(self, reply: Any) -> None:
        acknowledgement = self._owner.acknowledgement
        if acknowledgement is None:
            _resolve(self.sent.popleft().answer, reply)
            return
        self.replies.append(reply)
        if len(self.replies) == len(self.sent) + len(acknowledgement.commands):
            replies = acknowledgement.checked(self.replies)
            if any(isinstance(each, MoreReplicasError) for each in replies):
                # They are waited for again; the calls need not be repeated.
                del self.replies[-len(acknowledgement.commands) :]
                self.transport.write(acknowledgement.packed)
                return
            calls, self.sent, self.replies = self.sent, deque(), []
            for call, each in zip(calls, replies, strict=True):
                _resolve(call.answer, each)
            if any(isinstance(each, Unacknowledged) for each in replies):
                # Who waits for the next one may find a server that has its replicas.
                self._owner.lose(self, RedisConnectionError("not acknowledged"))
            self._owner.flush()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._owner.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()
        self._owner.lose(self, error or RedisConnectionError("the record store closed the connection"))


class Connection:
    """A connection for nothing but commands that are safe to repeat: those that a lost connection leaves
    unanswered are sent again on the next one. redis-py makes them.

    With an `acknowledgement` a call is answered once it holds: what comes meanwhile shares the next one.
    """

    def __init__(self, pool: ConnectionPool, acknowledgement: Acknowledgement | None = None) -> None:
        self.acknowledgement = acknowledgement
        self._maker: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        self._link: _Link | None = None
        self._last: _Link | None = None
        self._waiting: list[_Call] = []
        self._connecting: asyncio.Task[None] | None = None
        self._thirds = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.losses = 0

    def send(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        """The reply to come; cancelled where this is closed. After LONGEST_S it is a RedisTimeoutError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            answer.cancel()
            return answer
        self._waiting.append(_Call(hiredis.pack_command(command), answer, self._thirds))
        if self._timer is None:
            self._timer = loop.call_later(LONGEST_S / THIRDS, self._third)
        if len(self._waiting) == 1:
            loop.call_soon(self.flush)
        elif len(self._waiting) >= TOGETHER:
            self.flush()
        return answer

    def flush(self) -> None:
        """Write what waits, or make a connection for it."""
        if not self._waiting or self._closed:
            return
        if self._link is not None:
            awaits = self.acknowledgement is not None and self._link.sent
            if not self._link.paused and not awaits:
                calls, self._waiting = self._waiting, []
                self._link.write(calls)
        elif self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())

    def lose(self, link: _Link, error: Exception) -> None:
        """Give a connection up; what it leaves unanswered is sent on the next one."""
        if link is not self._link:
            return
        self._link = None
        link.transport.abort()
        self._waiting = [*link.sent, *self._waiting]
        self.losses += 1
        if self.losses > MOST_LOST:
            self._fail(error if isinstance(error, RedisError) else RedisConnectionError(str(error)))
        self.flush()

    async def aclose(self) -> None:
        """End what is under way, whose callers are cancelled, and send nothing more."""
        self._closed = True
        link, self._link = self._link, None
        for call in (*(link.sent if link else ()), *self._waiting):
            call.answer.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._last is not None:
            self._last.transport.abort()
            await self._last.closed.wait()
        await self._maker.disconnect(nowait=True)

    async def _connect(self) -> None:
        try:
            await self._maker.disconnect(nowait=True)
            if self.losses:
                await asyncio.sleep(self.losses * LOST_PAUSE_S)
            await self._maker.connect()
            self._link = self._last = _Link(self, self._maker._writer.transport)
        except Exception as error:
            # The outermost frame of this task: the callers get it.
            self._fail(error)
        except asyncio.CancelledError:
            # Closing: what was opened a moment ago has nobody else to close it.
            await self._maker.disconnect()
            raise
        finally:
            self._connecting = None
            self.flush()

    def _fail(self, error: Exception) -> None:
        calls, self._waiting, self.losses = self._waiting, [], 0
        for call in calls:
            _resolve(call.answer, error)

    def _third(self) -> None:
        """Fail those who have waited for too long, and give up the connection on which they do."""
        self._timer = None
        self._thirds += 1
        link = self._link
        oldest = self._thirds - THIRDS
        if link is not None and link.sent and link.sent[0].begun <= oldest:
            self.lose(link, RedisTimeoutError("the record store hangs"))
        late = [call for call in self._waiting if call.begun <= oldest]
        self._waiting = [call for call in self._waiting if call.begun > oldest]
        for call in late:
            _resolve(call.answer, RedisTimeoutError("the record store hangs"))
        if self._waiting or (self._link is not None and self._link.sent):
            self._timer = asyncio.get_running_loop().call_later(LONGEST_S / THIRDS, self._third)
