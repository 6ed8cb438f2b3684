"""The protocol between a process and the child processes that decode for it, and a child's loop.

Imports nothing that decodes, and nothing of the project.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

READY = b"R"
"""What a child sends once it is ready for requests."""


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
        reader = channel.makefile("rb")
        channel.sendall(READY)
        while len(head := reader.read(protocol.request.size)) == protocol.request.size:
            _answer(channel, reader, protocol, head, decode, limit_s)


def _answer(
    channel: socket.socket,
    reader: BinaryIO,
    protocol: DecoderProtocol,
    head: bytes,
    decode: Decode,
    limit_s: float,
) -> None:
    """Separate from the loop, so that nothing of a file is kept until the next one comes.

    The alarm that ends this process counts its processor time: a busy machine refuses nothing that an idle
    one accepts.
    """
    *numbers, length = protocol.request.unpack(head)
    data = reader.read(length)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        result, decoded = decode(tuple(numbers), data)
        reply = protocol.reply.pack(*result)
    except Exception:  # The outermost frame of a file: decoders raise any type, and none may end the child.
        reply, decoded = bytes(protocol.reply.size), ()
    signal.setitimer(signal.ITIMER_PROF, 0)
    for part in chain((reply,), decoded):
        channel.sendall(part)


def limit_memory(growth_mb: int) -> None:
    """Cap the address space at its present size and `growth_mb` more; Linux only, elsewhere nothing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + growth_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
