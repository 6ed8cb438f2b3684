"""The protocol between a process and the child processes that decode for it, and a child's loop.

A request and a reply's numbers go through a socket. A reply's bytes go through a file in memory, the window,
which the parent reads whenever it is full. Through a socket a page's pixels would take hundreds of calls, and
after each of them the parent's thread would wait for Python's lock. Imports nothing of the project.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

READY = b"R"
"""What a child sends once it is ready for requests."""
FILLED = Struct("!I")
"""What it sends when its window is to be read: how many bytes are in it."""
READ = b"A"
"""What the parent sends when it has read a window after which more comes; with the window itself at first."""
WINDOW = 2**23
"""Bytes that are read from the window at once: the pixels of a page of 1275 x 1650, and some more."""


class DecoderProtocol(NamedTuple):
    """A request's last number is how many bytes follow; in a reply, zeros mean that decoding failed."""

    request: Struct
    reply: Struct


# Format, width and height as announced and as requested, bytes. Width and height, for 3 bytes a pixel.
PICTURES = DecoderProtocol(Struct("!4sIIIII"), Struct("!II"))
# Format, width and height as announced, longer side as requested, bytes. Bytes of a JPEG.
THUMBNAILS = DecoderProtocol(Struct("!4sIIII"), Struct("!I"))
# Requested rate, bytes. Samples, of 4 bytes each; or none, and the bytes of a reason for the caller.
SOUNDS = DecoderProtocol(Struct("!II"), Struct("!QI"))
# Kind, page from 1 (0: how many there are), longer side, most pixels of a picture in it, bytes (none: of the
# document before). Bytes of a PNG or a number in digits; or of a reason for the caller, then with a 1.
DOCUMENTS = DecoderProtocol(Struct("!4sIIII"), Struct("!IB"))
# Kind of file, how many numbers of wanted frames come first in the bytes, bytes. Frames, their rate as a
# fraction, width and height, bytes: the wanted frames', or of a reason for the caller where there are none.
VIDEOS = DecoderProtocol(Struct("!8sII"), Struct("!IIIIIQ"))

Numbers = tuple[int, ...]
Decode = Callable[[tuple[Any, ...], bytes], tuple[Numbers, Iterable[bytes]]]
"""Makes a reply's numbers and pieces of bytes from those of a request. May raise anything."""


def serve(protocol: DecoderProtocol, decode: Decode, limit_s: float, memory_mb: int) -> None:
    """Serve requests on standard input until the parent is gone (end of input, or a ConnectionError).

    Output on standard error beyond what its pipe holds is lost, because it is not read during a file.
    """
    limit_memory(memory_mb)
    os.set_blocking(sys.stderr.fileno(), False)
    with socket.socket(fileno=sys.stdin.fileno()) as channel, suppress(ConnectionError):
        _, windows, *_ = socket.recv_fds(channel, len(READ), 1)
        if not windows:
            return
        parent = Parent(channel, channel.makefile("rb"), windows[0])
        channel.sendall(READY)
        while len(head := parent.reader.read(protocol.request.size)) == protocol.request.size:
            _answer(parent, protocol, head, decode, limit_s)


class UnusableError(ValueError):
    """What was sent can be decoded, but not used; the message says why to its caller."""


class Parent(NamedTuple):
    """The ends of its socket and its window in the child."""

    channel: socket.socket
    reader: BinaryIO
    window: int

    def send(self, parts: Iterable[bytes]) -> None:
        """Raises ConnectionError where the parent is gone."""
        filled = 0
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                if filled == WINDOW:
                    self.channel.sendall(FILLED.pack(filled))
                    if self.reader.read(len(READ)) != READ:
                        raise ConnectionResetError
                    filled = 0
                count = os.pwrite(self.window, rest[: WINDOW - filled], filled)
                filled += count
                rest = rest[count:]
        if filled:
            self.channel.sendall(FILLED.pack(filled))


def _answer(parent: Parent, protocol: DecoderProtocol, head: bytes, decode: Decode, limit_s: float) -> None:
    """Separate from the loop, so that nothing of a file is kept until the next one comes.

    The alarm that ends this process counts its processor time: a busy machine refuses nothing that an idle
    one accepts.
    """
    *numbers, length = protocol.request.unpack(head)
    data = parent.reader.read(length)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        result, decoded = decode(tuple(numbers), data)
        reply = protocol.reply.pack(*result)
    except Exception:  # The outermost frame of a file: decoders raise any type, and none may end the child.
        reply, decoded = bytes(protocol.reply.size), ()
    signal.setitimer(signal.ITIMER_PROF, 0)
    parent.channel.sendall(reply)
    parent.send(decoded)


def limit_memory(growth_mb: int) -> None:
    """Cap the address space at its present size and `growth_mb` more; Linux only, elsewhere nothing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + growth_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
