"""A pool of child processes that decode callers' files.

Neither a file's size nor its headers bound the time that decoding takes, and a thread cannot be stopped. So a
child process decodes each file; it ends at its limit of processor time and is replaced. A hostile file costs
two restarts, never the worker with its model.
"""

import json
import logging
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import IO, Any, NamedTuple, cast

from shared.errors import Unavailable
from shared.media.decoder_protocol import HEAD, READY, Facts
from shared.media.kinds import Kind, Limits
from shared.telemetry.logs import fields

log = logging.getLogger("shared.media")
START_LIMIT_S = 60.0
# Seconds beyond the limit of processor time after which a child hangs, however busy the machine is.
HANG_LIMIT_S = 15.0
# Seconds that a process has to end after its socket is closed.
END_LIMIT_S = 5.0
# Seconds and microseconds, as the system takes a limit.
TIMEVAL = Struct("ll")
# What a pipe holds, and how much of a dead child's last output goes into a line of the log.
PIPE_BYTES, STDERR_CHARACTERS = 2**16, 500
# glibc keeps up to so many freed bytes. The system clears each page that it gives: a third of the time that a
# page of text takes to decode.
KEPT_BYTES = str(2**25)
CHILD_ENV = {
    "MALLOC_MMAP_THRESHOLD_": KEPT_BYTES,
    "MALLOC_TRIM_THRESHOLD_": KEPT_BYTES,
    # One freed block in a thread's cache would keep all that is freed below it.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    # A thread that NumPy starts before the confinement would stay free.
    "OPENBLAS_NUM_THREADS": "1",
}


class UndecodableError(Exception):
    """The process could not decode the file, took too long or died of it; the message says which."""


class DiedError(UndecodableError):
    """The process died or hung: of the file, or because the system had no memory left or stood still."""


class NoDecoder(Unavailable):
    """This machine lacks processes or memory for one: no file's fault, and another machine may have them."""

    def __init__(self, output: str | None = None) -> None:
        super().__init__("store_unavailable", "No decoder starts here now; try again.", retry_after=5)
        if output is not None:
            log.error("a decoder did not start", extra=fields(said=output))


class Decoded(NamedTuple):
    facts: Facts
    data: bytearray


class DecoderPool:
    """At most `size` processes with one decoding module, shared by the threads of this one; more files wait.

    Processes start when first needed and stay. `close` waits for files in flight; without it they end when
    this process does.
    """

    def __init__(self, kind: Kind, module: str, limits: Limits, size: int = 2) -> None:
        self._kind = kind
        self._module, self._limits, self._size = module, limits, size
        # Last in, first out, so that light load keeps to one warm process. None is a place without one.
        self._places: queue.LifoQueue[DecoderProcess | None] = queue.LifoQueue()
        self._closed = threading.Event()
        for _ in range(size):
            self._places.put(None)

    def decode(self, data: bytes, param: str | None, **request: Any) -> Decoded:
        """As `DecoderProcess.decode`; if the process dies, a new one tries once more.

        Raises CallerError with the kind's code; NoDecoder if none starts, or the pool is closed.
        """
        try:
            try:
                with self.borrowed() as process:
                    return process.decode(data, **request)
            except DiedError:
                with self.borrowed(new=True) as process:
                    return process.decode(data, **request)
        except UndecodableError as error:
            raise self._kind.invalid(str(error), param) from None

    @contextmanager
    def borrowed(self, *, new: bool = False) -> Iterator["DecoderProcess"]:
        """A process for the block. Raises NoDecoder if none starts, or the pool is closed."""
        process = self._places.get()
        try:
            if self._closed.is_set():
                raise NoDecoder
            if process and (new or not process.alive):
                process.kill()
                process = None
            process = process or DecoderProcess(self._module, self._limits)
            yield process
        finally:
            if process and not process.alive:
                process.kill()
                process = None
            self._places.put(process)

    def close(self) -> None:
        self._closed.set()
        for process in [self._places.get() for _ in range(self._size)]:
            if process:
                process.kill()
            self._places.put(None)


class DecoderProcess:
    """One decoding process, used by one thread at a time. Raises NoDecoder if it cannot start."""

    def __init__(self, module: str, limits: Limits) -> None:
        self._limit_s = limits.decode_limit_s
        try:
            self._channel, self._process = _start(module, limits)
        except OSError as error:
            raise NoDecoder(str(error)) from error
        self._stderr = cast(IO[bytes], self._process.stderr)
        os.set_blocking(self._stderr.fileno(), False)
        self._await_ready()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, **request: Any) -> Decoded:
        """What the module makes of a file and a request's facts, within the time limit.

        Raises UndecodableError, DiedError; the child may be dead then.
        """
        hang_s = self._limit_s + HANG_LIMIT_S
        self._end = time.monotonic() + hang_s
        asked = json.dumps(request).encode()
        try:
            self._channel.settimeout(hang_s)
            self._channel.sendall(HEAD.pack(len(asked), len(data)) + asked)
            self._channel.sendall(data)
            self._channel.settimeout(None)
            words, size = HEAD.unpack(self._receive(HEAD.size))
            decoded = Decoded(json.loads(self._receive(words)), self._receive(size))
        except TimeoutError:
            self.kill()
            # Perhaps not the file's fault: this machine may have stood still.
            raise DiedError(self._too_long) from None
        except OSError:
            exit_code, stderr = self._exit_code(), self._stderr_tail()
            self.kill()
            if exit_code == -signal.SIGPROF:
                raise UndecodableError(self._too_long) from None
            log.warning("a decoder died", extra=fields(ended=exit_code, said=stderr))
            raise DiedError("its decoder died of it") from None
        # Output about an earlier file must not be taken for why this child died.
        self._stderr_tail()
        if "unusable" in decoded.facts:
            raise UndecodableError(decoded.facts["unusable"])
        return decoded

    def kill(self) -> None:
        """End the process and reap it; harmless when repeated."""
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._stderr.close()

    @property
    def _too_long(self) -> str:
        return f"it took longer than {self._limit_s:g} s"

    def _exit_code(self) -> int | None:
        """The exit code with which it ended by itself or by a signal; None if it still runs."""
        try:
            return self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            return None

    def _stderr_tail(self) -> str:
        """The end of its output since the last call, of which the pipe keeps the first 64 KiB.

        There may be a line for each broken frame.
        """
        output = self._stderr.read(PIPE_BYTES) or b""
        return output.decode("utf-8", "replace").strip()[-STDERR_CHARACTERS:]

    def _await_ready(self) -> None:
        self._channel.settimeout(START_LIMIT_S)
        try:
            ready = self._channel.recv(len(READY))
        except OSError:
            ready = b""
        if ready != READY:
            error = NoDecoder(self._stderr_tail())
            self.kill()
            raise error

    def _receive(self, length: int) -> bytearray:
        """Exactly `length` bytes. Raises TimeoutError if the child hangs, OSError if it is gone.

        The system waits for all of them: after each call this thread would wait for Python's lock.
        """
        received = bytearray(length)
        rest = memoryview(received)
        while rest:
            remaining_s = self._end - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            limit = TIMEVAL.pack(math.ceil(remaining_s), 0)
            self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            with suppress(BlockingIOError):
                count = self._channel.recv_into(rest, 0, socket.MSG_WAITALL)
                if not count:
                    raise ConnectionResetError
                rest = rest[count:]
        return received


def _start(module: str, limits: Limits) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Our end of its socket, and its process. Raises OSError."""
    channel, remote = socket.socketpair()
    with remote:
        try:
            numbers = (str(limits.decode_limit_s), str(limits.decode_memory_mb))
            # Without our environment: a decoder that a hostile file may subvert must not reach secrets.
            # Its own session: the Ctrl-C or SIGTERM that drains the worker's group does not end its decoders.
            return channel, subprocess.Popen(  # noqa: S603 - our own module, no caller's text
                [sys.executable, "-W", "ignore", "-m", "shared.media.decode", module, *numbers],
                stdin=remote.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=Path(__file__).parents[2],
                env=CHILD_ENV,
                start_new_session=True,
            )
        except OSError:
            channel.close()
            raise
