"""The protocol between a process and the child processes that decode for it, and a child's loop.

It imports nothing of the project but the confinement.
"""

import encodings
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
from typing import Any, NamedTuple

from shared.landlock import confine

READY = b"R"
"""What a child sends once it is ready for requests."""
HEAD = Struct("!IQ")
"""What a request and a reply begin with: the bytes of its facts in JSON, and of what follows them."""
FONTS = "/etc/fonts /usr/share/fontconfig /usr/share/fonts /usr/share/X11/fonts /usr/local/share/fonts"
READABLE = (*encodings.__path__, *FONTS.split())
"""Folders that decoders read when a file comes; an SVG may declare an encoding."""
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
    confine(READABLE)
    os.set_blocking(sys.stderr.fileno(), False)
    with socket.socket(fileno=sys.stdin.fileno()) as channel, suppress(ConnectionError):
        channel.sendall(READY)
        reader = channel.makefile("rb")
        while len(head := reader.read(HEAD.size)) == HEAD.size:
            words, length = HEAD.unpack(head)
            _answer(channel, reader.read(words), reader.read(length), answer, limit_s)


def _answer(channel: socket.socket, request: bytes, data: bytes, answer: Answer, limit_s: float) -> None:
    """Separate from the loop, so that nothing of a file is kept until the next one comes.

    The alarm that ends this process counts its processor time: a busy machine refuses nothing that an idle
    one accepts.
    """
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        reply = answer(json.loads(request), data)
    except UnusableError as error:
        reply = Reply({"unusable": str(error)})
    except MemoryError:
        reply = Reply({"unusable": "decoding it takes more memory than a decoder may have"})
    except Exception:  # The outermost frame of a file: decoders raise any type, and none may end the child.
        reply = Reply({"unusable": DAMAGED})
    signal.setitimer(signal.ITIMER_PROF, 0)
    facts = json.dumps(reply.facts).encode()
    channel.sendall(HEAD.pack(len(facts), reply.size) + facts)
    for piece in reply.pieces:
        channel.sendall(piece)


def limit_memory(growth_mb: int) -> None:
    """Cap the address space at its present size and `growth_mb` more; Linux only, elsewhere nothing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + growth_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
