"""Cuts off a reader who takes too little of an answer: what it leaves is held in memory."""

import asyncio
import fcntl
import struct
import termios

UNREAD, UNREAD_LIMIT_S = 64 * 2**10, 120.0
"""The reader must take this many bytes of an answer, or its rest, in this time.

It is long because a steady reader with a large receive buffer, as a proxy has, asks for megabytes at once.
"""


class ReaderWatch:
    """Over one connection, while nothing is added to what waits there to be read."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self.end()
        self._next = self._loop.call_later(UNREAD_LIMIT_S, self._look, self._unread())

    def end(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self, before: int) -> None:
        """Abort the connection unless the client has read enough."""
        if before - self._unread() < UNREAD:
            self._transport.abort()
        else:
            self.begin()

    def _unread(self) -> int:
        """What waits here and in the kernel, which holds megabytes and asks for more when a third is gone."""
        return self._transport.get_write_buffer_size() + self._held_by_kernel()

    def _held_by_kernel(self) -> int:
        try:
            held = fcntl.ioctl(self._transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        except (OSError, TypeError, ValueError):
            # Not every system tells it, and a connection just lost has no socket any more.
            return 0
        return int(struct.unpack("i", held)[0])
