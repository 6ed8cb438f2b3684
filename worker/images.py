"""Pictures from bytes, decoded in child processes that can be ended.

Neither bytes nor pixels bound the time a decoder takes, and a thread cannot be stopped, so each picture is
decoded in a process of its own (`worker.pixels`), killed at its time limit and replaced: a hostile file costs
one restart, never the worker with its model. Bounded as well is the memory of all children together, and how
many pixels this process holds.
"""

import math
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from PIL.Image import Image as Picture

from shared.errors import CallerError, InternalError
from shared.pictures import PictureInfo, check_request, inspect
from shared.settings import PictureSettings
from worker.pixels import READY, REPLY, REQUEST
from worker.room import Room
from worker.shrinking import sizes

CHILDREN = 4
START_LIMIT_S = 60.0
# Large pieces go back to the system when they are freed; C libraries other than glibc do so anyway.
CHILD_ENV = {"MALLOC_MMAP_THRESHOLD_": "1048576"}


class UndecodableError(Exception):
    """The child could not decode it, took too long or died of it."""


class Child:
    """One decoding process, used by one thread at a time. Raises InternalError where it cannot start."""

    def __init__(self, limits: PictureSettings) -> None:
        self._limit_s = limits.decode_limit_s
        most_pixels = int(limits.max_megapixels * 1e6)
        arguments = (limits.decode_limit_s, limits.decode_memory_mb, most_pixels)
        self._channel, theirs = socket.socketpair()
        with theirs:
            # No environment of ours: no secret is in reach of a decoder that a stranger may subvert.
            # Its own session: the Ctrl-C or SIGTERM that drains the worker's group does not end its decoders.
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no caller's text
                [sys.executable, "-W", "ignore", "-m", "worker.pixels", *map(str, arguments)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=Path(__file__).parents[1],
                env=CHILD_ENV,
                start_new_session=True,
            )
        self._await_ready()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, info: PictureInfo, size: tuple[int, int], data: bytes) -> Picture:
        """Shrunk to `size`, within the time limit. Raises UndecodableError; the child may be dead then."""
        self._end = time.monotonic() + self._limit_s
        head = REQUEST.pack(info.format.encode(), info.width, info.height, *size, len(data))
        try:
            self._channel.settimeout(self._limit_s)
            self._channel.sendall(head)
            self._channel.sendall(data)
            width, height = REPLY.unpack(self._receive(REPLY.size))
            pixels = self._receive(width * height * 3)
        except TimeoutError:
            self.kill()
            raise UndecodableError(f"it took longer than {self._limit_s:g} s") from None
        except OSError:
            self.kill()
            raise UndecodableError("its decoder died of it") from None
        if not pixels:
            raise UndecodableError("the file is damaged")
        return Image.frombytes("RGB", (width, height), pixels)

    def kill(self) -> None:
        """End the process and reap it; harmless when repeated."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _await_ready(self) -> None:
        self._channel.settimeout(START_LIMIT_S)
        try:
            ready = self._channel.recv(1)
        except OSError:
            ready = b""
        if ready != READY:
            self.kill()
            raise InternalError("The picture decoder did not start.")

    def _receive(self, length: int) -> bytearray:
        """Exactly `length` bytes. Raises TimeoutError at the picture's limit, OSError without child."""
        received = bytearray(length)
        rest = memoryview(received)
        while rest:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            count = self._channel.recv_into(rest)
            if not count:
                raise ConnectionResetError
            rest = rest[count:]
        return received


class Decoder:
    """Decodes for the threads of one process; up to four pictures at once, more wait their turn.

    Children start when first needed and stay. `close` waits for pictures in flight; without it the children
    end by themselves when this process does.
    """

    def __init__(self, limits: PictureSettings) -> None:
        self._limits = limits
        # Last in, first out: light load keeps to one warm child. None is a place whose child is not running.
        self._places: queue.LifoQueue[Child | None] = queue.LifoQueue()
        self._closed = threading.Event()
        for _ in range(CHILDREN):
            self._places.put(None)
        self._memory = Room(limits.decode_memory_mb * 2**20)
        self._pixels = Room(limits.max_side**2)

    @contextmanager
    def decoded(self, files: Sequence[bytes]) -> Iterator[list[Picture]]:
        """A request's pictures in RGB, loaded and shrunk (`worker.shrinking`). Waits while others' are many.

        Raises CallerError (`invalid_image`, `payload_too_large`) naming the picture by its place.
        """
        infos = [inspect(data, self._limits, f"images[{place}]") for place, data in enumerate(files)]
        check_request(infos, self._limits)
        wanted = sizes(infos, self._limits.max_side)
        with self._pixels.taking(sum(map(math.prod, wanted))):
            yield list(map(self._decode, infos, wanted, files))

    def _decode(self, info: PictureInfo, size: tuple[int, int], data: bytes) -> Picture:
        with self._memory.taking(info.memory), self._borrowed_child() as child:
            try:
                return child.decode(info, size, data)
            except UndecodableError as reason:
                message = f"The picture could not be decoded: {reason}."
                raise CallerError("invalid_image", message, param=info.param) from None

    def close(self) -> None:
        """End the children; nothing can be decoded afterwards."""
        self._closed.set()
        for child in [self._places.get() for _ in range(CHILDREN)]:
            if child:
                child.kill()
            self._places.put(None)

    @contextmanager
    def _borrowed_child(self) -> Iterator[Child]:
        child = self._places.get()
        try:
            if self._closed.is_set():
                raise InternalError("The picture decoder is closed.")
            if child and not child.alive:
                child.kill()
                child = None
            child = child or Child(self._limits)
            yield child
        finally:
            self._places.put(child if child and child.alive else None)
