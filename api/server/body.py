"""Receive a request's body, with limits on its size and its time, and then parse it.

A chunked body has no length to check beforehand, so bytes are counted as they arrive. Large bodies are parsed
in a thread, one at a time, and callers take turns: parsing takes several times a body's memory.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from fastapi import Request

from api.dialects.unknown_fields import header, ignored_fields
from api.server.reply import IGNORED, reply_of
from shared.errors import CallerError
from shared.settings import ApiSettings

T = TypeVar("T")

LARGE = 16 * 2**10
"""Bytes of a body that is parsed in a thread: on the event loop it would delay every stream."""
_READER = ThreadPoolExecutor(1, "reader")
_TURNS = WeakValueDictionary[str | None, asyncio.Lock]()


async def read_body(http: Request) -> bytes:
    """Return the whole body.

    Raises CallerError (payload_too_large, upload_timeout, invalid_request), Unavailable `queue_full`,
    ClientDisconnect.
    """
    limits: ApiSettings = http.app.state.context.settings.api
    return await in_time(limits.upload_limit_s, _received(http, int(limits.body_mb * 2**20)))


async def _received(http: Request, limit: int) -> bytes:
    reply, chunks = reply_of(http), list[bytes]()
    # Piece by piece: hashing a whole body would delay every stream.
    digest = hashlib.sha256() if "idempotency-key" in http.headers else None
    async for chunk in arriving(http, limit):
        await reply.reservation.take(len(chunk))
        chunks.append(chunk)
        if digest is not None:
            digest.update(chunk)
    if digest is not None:
        reply.body_digest = digest.hexdigest()
    return b"".join(chunks)


async def parse_body(http: Request, body: bytes, read: Callable[[bytes], T]) -> T:
    """Return `read(body)`, a large one's from the reader's thread; the answer names the fields it ignored.

    Raises what `read` raises.
    """
    reply = reply_of(http)
    if len(body) <= LARGE:
        value, ignored = _read_noting(read, body)
    else:
        async with _turn(reply.reservation.caller), _turn(None):
            loop = asyncio.get_running_loop()
            value, ignored = await loop.run_in_executor(_READER, _read_noting, read, body)
    if ignored:
        reply.headers[IGNORED] = header(ignored)
    return value


def _turn(caller: str | None) -> asyncio.Lock:
    """One body of each caller waits for those of others (None), the rest for it: so callers take turns."""
    return _TURNS.setdefault(caller, asyncio.Lock())


def _read_noting(read: Callable[[bytes], T], body: bytes) -> tuple[T, list[str]]:
    with ignored_fields() as paths:
        return read(body), paths


async def arriving(http: Request, limit: int) -> AsyncGenerator[bytes]:
    """Yield the pieces of a body, of at most `limit` bytes together.

    Raises CallerError (payload_too_large, invalid_request), ClientDisconnect.
    """
    _check_headers(http, limit)
    received = 0
    async for chunk in http.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk


async def in_time(limit_s: float, reading: Awaitable[T]) -> T:
    """Return what `reading` gives. Raises CallerError `upload_timeout` if that takes longer."""
    try:
        async with asyncio.timeout(limit_s):
            return await reading
    except TimeoutError:
        limit = f"{limit_s:g} s (SIGHTLINE_API__UPLOAD_LIMIT_S)"
        raise CallerError("upload_timeout", f"The body did not arrive within {limit}.") from None


def _check_headers(http: Request, limit: int) -> None:
    codings = {value.strip().lower() for value in http.headers.getlist("content-encoding")}
    if not codings <= {"identity", ""}:
        message = "Send the body without a content coding."
        raise CallerError("invalid_request", message, param="content-encoding")
    length = http.headers.get("content-length", "0")
    # Its digits are counted first: int() raises ValueError for thousands of them.
    if len(length) > 15 or int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> CallerError:
    settings = "SIGHTLINE_API__BODY_LIMIT_MB, for a file FILE_LIMIT_MB"
    return CallerError("payload_too_large", f"The body is larger than {limit} bytes ({settings}).")
