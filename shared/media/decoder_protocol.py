"""The protocol between a process and the child processes that decode for it, and a child's loop.

Requests and the facts of replies go through a socket. A reply's bytes go through a file in memory, the
window, which the parent reads whenever it is full. Through a socket a page's pixels would take hundreds of
calls, and after each of them the parent's thread would wait for Python's lock.

Imports nothing of the project.
"""

import json
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


HEAD = Struct("!IQ")
"""What a request and a reply begin with: the bytes of its facts in JSON, and of what follows them."""
DAMAGED = "it could not be decoded: the file is damaged"

Facts = dict[str, Any]


class Reply(NamedTuple):
    """Facts about what was decoded, and its bytes in pieces, so that few are in memory twice."""

    facts: Facts
    size: int = 0
    pieces: Iterable[bytes | memoryview] = ()

    @classmethod
    def of(cls, data: bytes, **facts: Any) -> "Reply":
        return cls(facts, len(data), (data,))


Answer = Callable[[Facts, bytes], Reply]
"""Makes a reply to a request's facts and its file. May raise anything."""


class UnusableError(ValueError):
    """What was sent cannot be used; the message says why to its caller."""


def serve(answer: Answer, limit_s: float, memory_mb: int) -> None:
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
        while len(head := parent.reader.read(HEAD.size)) == HEAD.size:
            _answer(parent, head, answer, limit_s)


class Parent(NamedTuple):
    """The ends of its socket and its window in the child."""

    channel: socket.socket
    reader: BinaryIO
    window: int

    def send(self, parts: Iterable[bytes | memoryview]) -> None:
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


def _answer(parent: Parent, head: bytes, answer: Answer, limit_s: float) -> None:
    """Separate from the loop, so that nothing of a file is kept until the next one comes.

    The alarm that ends this process counts its processor time: a busy machine refuses nothing that an idle
    one accepts.
    """
    words, length = HEAD.unpack(head)
    request, data = json.loads(parent.reader.read(words)), parent.reader.read(length)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        reply = answer(request, data)
    except UnusableError as error:
        reply = Reply({"unusable": str(error)})
    except MemoryError:
        reply = Reply({"unusable": "decoding it takes more memory than a decoder may have"})
    except Exception:  # The outermost frame of a file: decoders raise any type, and none may end the child.
        reply = Reply({"unusable": DAMAGED})
    signal.setitimer(signal.ITIMER_PROF, 0)
    facts = json.dumps(reply.facts).encode()
    parent.channel.sendall(HEAD.pack(len(facts), reply.size) + facts)
    parent.send(reply.pieces)


def limit_memory(growth_mb: int) -> None:
    """Cap the address space at its present size and `growth_mb` more; Linux only, elsewhere nothing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + growth_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
