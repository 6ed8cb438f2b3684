"""Cuts off a reader who takes too little of an answer: what it leaves is held in memory."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Any

UNREAD, UNREAD_LIMIT_S = 64 * 2**10, 120.0
"""The reader must take this many bytes of an answer, or its rest, in this time.

It is long because a steady reader with a large receive buffer, as a proxy has, asks for megabytes at once.
"""
BYTES_ACKED = 120
"""Where Linux puts `tcpi_bytes_acked` in what it tells of a connection."""
# Not every system tells all, and a connection just lost has no socket any more.
UNTOLD = (AttributeError, OSError, TypeError, ValueError, struct.error)


class ReaderWatch:
    """Over one connection, while nothing is added to what waits there to be read."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self.end()
        self._next = self._loop.call_later(UNREAD_LIMIT_S, self._look, self._taken())

    def end(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self, before: int) -> None:
        """Abort the connection unless the client has read enough."""
        if self._taken() - before < UNREAD:
            self._transport.abort()
        else:
            self.begin()

    def _taken(self) -> int:
        """A count that grows as the client reads: what it has acknowledged, else what waits less and less."""
        return self._acknowledged() or -self._unread()

    def _acknowledged(self) -> int:
        """Bytes of all answers, which no buffer of TLS hides; 0 where the system does not tell."""
        if sys.platform != "linux":
            return 0
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
            return int(struct.unpack_from("Q", told, BYTES_ACKED)[0])
        except UNTOLD:
            return 0

    def _unread(self) -> int:
        """What waits here and in the kernel, which holds megabytes and asks for more when a third is gone."""
        return self._transport.get_write_buffer_size() + self._held_by_kernel()

    def _held_by_kernel(self) -> int:
        try:
            held = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        except UNTOLD:
            return 0
        return int(struct.unpack("i", held)[0])

    @property
    def _socket(self) -> Any:
        return self._transport.get_extra_info("socket")
