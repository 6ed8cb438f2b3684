"""Receives a request's body, with limits on its size, its pace and its time, before anything parses it.

A chunked body has no length to check beforehand, so bytes are counted as they arrive."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from api.server.reply import reply_of
from shared.errors import CallerError
from shared.settings import ApiSettings

STRETCH, STRETCH_LIMIT_S = 64 * 2**10, 10.0
"""This many bytes, or the body's end, must arrive within this time: slow ones hold a connection."""
SHARE = 8
"""For a body held in memory a stretch is at least 1/SHARE of what has come: it takes up others' room."""


async def read_body(request: Request, limits: ApiSettings) -> bytes:
    """The whole body, in memory.

    Raises CallerError (payload_too_large, upload_timeout, invalid_request), Unavailable `queue_full`,
    ClientDisconnect.
    """
    chunks: list[bytes] = []
    reservation = reply_of(request).reservation
    limit = int(limits.body_limit_mb * 2**20)
    async for chunk in arriving(request, limit, in_memory_s=limits.upload_limit_s):
        await reservation.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks) if len(chunks) > 1 else chunks[0]


async def arriving(
    request: Request, limit: int, *, in_memory_s: float | None = None
) -> AsyncGenerator[bytes]:
    """The pieces of a body, at least one, of at most `limit` bytes together.

    A body that is collected in memory must arrive whole within `in_memory_s`.

    Raises CallerError (payload_too_large, invalid_request, upload_timeout), ClientDisconnect.
    """
    _check_headers(request, limit)
    received, more, pace = 0, True, _Pace(in_memory_s)
    while more:
        message = await pace.keep(request.receive, received)
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        received += len(chunk)
        more = message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
        yield chunk


class _Pace:
    """The time left for a stretch; it stands still while nobody here asks for more of the body."""

    def __init__(self, in_memory_s: float | None) -> None:
        self._limit_s = in_memory_s
        self._all_left_s = math.inf if in_memory_s is None else in_memory_s
        self._left_s = STRETCH_LIMIT_S
        self._next = STRETCH

    async def keep(self, receive: Receive, received: int) -> Message:
        """The next message. Raises CallerError `upload_timeout`."""
        if received >= self._next:
            stretch = STRETCH if self._limit_s is None else max(STRETCH, received // SHARE)
            self._left_s, self._next = STRETCH_LIMIT_S, received + stretch
        try:
            return await self._within(receive, min(self._left_s, self._all_left_s))
        except TimeoutError:
            if self._limit_s is not None and self._all_left_s < self._left_s:
                raise too_slow(self._limit_s) from None
            left = math.ceil((self._next - received) / 1024)
            message = f"The body came too slowly: {left} KiB more were to come within {STRETCH_LIMIT_S:g} s."
            raise CallerError("upload_timeout", message) from None

    async def _within(self, receive: Receive, limit_s: float) -> Message:
        """Wait in two halves: if this process stalls, however long, the sender loses at most one of them.

        Raises TimeoutError.
        """
        clock = asyncio.get_running_loop().time
        for half_s in (limit_s / 2, limit_s / 2):
            began = clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(half_s):
                    try:
                        return await receive()
                    finally:
                        took_s = min(clock() - began, half_s)
                        self._left_s, self._all_left_s = self._left_s - took_s, self._all_left_s - took_s
        raise TimeoutError


def too_slow(limit_s: float) -> CallerError:
    return CallerError("upload_timeout", f"The body did not arrive within {limit_s:g} s.")


def _check_headers(request: Request, limit: int) -> None:
    if set(_words(request, "content-encoding")) - {"identity"}:
        raise CallerError(
            "invalid_request", "Send the body without a content coding.", param="content-encoding"
        )
    if _words(request, "transfer-encoding") not in ([], ["chunked"]):
        raise CallerError(
            "invalid_request", "Send the body in no transfer coding but chunked.", param="transfer-encoding"
        )
    # Its digits are counted first: int() raises ValueError for thousands of them.
    length = request.headers.get("content-length", "").lstrip("0")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > limit):
        raise _too_large(limit)


def _words(request: Request, name: str) -> list[str]:
    """The words that a header lists, on one line or several."""
    listed = ",".join(request.headers.getlist(name)).lower().split(",")
    return [word for word in map(str.strip, listed) if word]


def _too_large(limit: int) -> CallerError:
    return CallerError("payload_too_large", f"The body is larger than {limit} bytes.")


# Reads what bodies say: small plain ones at once, others beside the event loop, one at a time.
#
# Callers take turns with those. Checking a schema takes ten times as long as parsing it, and reading a large
# body takes several times its memory; two are no faster side by side.

T = TypeVar("T")

SHORT, LARGE = 2**10, 64 * 2**10
"""Bytes: a shorter body takes less time than a thread, and a larger one would hold up every stream."""
MOST_OBJECTS = 200
"""Each takes as long to read as hundreds of bytes of text."""
# A body between them may hold a schema if it has one of these; nobody but a hostile caller writes \u00.
SCHEMA = (b"schema", b"tools", b"functions", b"json", b"regex", b"grammar", b"\\u00")
_THREAD = ThreadPoolExecutor(1, "reader")


class Turns:
    """One at a time; who waits is served caller by caller, each caller's in their order."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        if self._taken:
            await self._wait(caller)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self._pass_on()  # it was given the turn just now
            raise

    def _pass_on(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            caller, line = next(iter(self._waiting.items()))
            del self._waiting[caller]
            first = line.popleft()
            if line:
                self._waiting[caller] = line  # behind the other callers
            if not first.done():
                first.set_result(None)
                self._taken = True


_turns = Turns()


async def translated(caller: str, body: bytes, read: Callable[[bytes], T]) -> T:
    """`read(body)`. Raises what that raises."""
    if len(body) <= SHORT or _plain(body):
        return read(body)
    async with _turns.turn(caller):
        return await asyncio.get_running_loop().run_in_executor(_THREAD, read, body)


def _plain(body: bytes) -> bool:
    few = len(body) <= LARGE and body.count(b"{") <= MOST_OBJECTS
    return few and not any(word in body for word in SCHEMA)
