"""Receives a request's body, with limits on its size and its time, and then parses it.

A chunked body has no length to check beforehand, so bytes are counted as they arrive. Small plain bodies are
parsed at once, others in a thread, one at a time, and callers take turns: checking a JSON Schema takes ten
times as long as parsing it, and parsing a large body takes several times its memory.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.dialects import strict_json
from api.dialects.unknown_fields import header, ignored_fields
from api.server.reply import IGNORED, Reply, reply_of
from shared.errors import CallerError
from shared.settings import ApiSettings

T = TypeVar("T")

SHORT, LARGE = 2**10, 64 * 2**10
"""Bytes: a shorter body is parsed faster than a thread starts; a larger one would delay every stream."""
MOST_OBJECTS = 200
"""Each takes as long to parse as hundreds of bytes of text."""
LONGEST_NAME = 256
# A body between them may hold a schema if it has one of these, as a field's name or a short value.
SCHEMA_WORDS = (b"schema", b"tools", b"functions", b"json", b"regex", b"grammar")
_READER = ThreadPoolExecutor(1, "reader")
_TURNS = WeakValueDictionary[str | None, asyncio.Lock]()


async def read_json(request: Request, read: Callable[[Any], T], *, optional: bool = False) -> T:
    """What `read` makes of the JSON in the body; an empty one that is `optional` is an empty object.

    Raises as `read_body`, `strict_json.parse` and `read`.
    """
    body = await read_body(request)
    if optional and not body:
        body = b"{}"
    return await parse_body(reply_of(request), body, lambda raw: read(strict_json.parse(raw)))


class RawBody(Generic[T]):
    """A body as it came, for a handler that may know what is in it; `read` makes something of its bytes."""

    def __init__(self, raw: bytes, reply: Reply, read: Callable[[bytes], T]) -> None:
        self.raw = raw
        self._reply = reply
        self._read = read

    async def parsed(self) -> T:
        """What it holds; once only, since it is large and the answer may take minutes. Raises as `read`."""
        raw, self.raw = self.raw, b""
        return await parse_body(self._reply, raw, self._read)


async def read_body(request: Request) -> bytes:
    """The whole body, in memory.

    Raises CallerError (payload_too_large, upload_timeout, invalid_request), Unavailable `queue_full`,
    ClientDisconnect.
    """
    limits: ApiSettings = request.app.state.context.settings.api
    limit = int(limits.body_mb * 2**20)
    _check_headers(request, limit)
    return await in_time(limits.upload_limit_s, _received(request, limit))


async def _received(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    named = any(name == b"idempotency-key" for name, _ in request.scope["headers"])
    # Piece by piece: of a whole body it would keep every stream waiting.
    digest = hashlib.sha256() if named else None
    reservation = reply_of(request).reservation
    received, more = 0, True
    while more:
        chunk, more = await _chunk(request)
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        await reservation.take(len(chunk))
        chunks.append(chunk)
        if digest is not None:
            digest.update(chunk)
    if digest is not None:
        reply_of(request).body_digest = digest.hexdigest()
    return b"".join(chunks) if len(chunks) > 1 else chunks[0]


async def _chunk(request: Request) -> tuple[bytes, bool]:
    """A piece of a body, and whether there are more. Raises ClientDisconnect."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def parse_body(reply: Reply, body: bytes, read: Callable[[bytes], T]) -> T:
    """`read(body)`, in this thread or the reader's; the reply names the fields it ignored.

    Raises what `read` raises.
    """
    if len(body) <= SHORT or _is_plain(body):
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


def _is_plain(body: bytes) -> bool:
    if len(body) > LARGE or body.count(b"{") > MOST_OBJECTS:
        return False
    names = b'"'.join(piece for piece in body.split(b'"') if len(piece) <= LONGEST_NAME)
    return not any(word in names for word in SCHEMA_WORDS)


async def arriving(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """The pieces of a body, at least one, of at most `limit` bytes together.

    Raises CallerError (payload_too_large, invalid_request), ClientDisconnect.
    """
    _check_headers(request, limit)
    received, more = 0, True
    while more:
        chunk, more = await _chunk(request)
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk


async def in_time(limit_s: float, reading: Awaitable[T]) -> T:
    """What `reading` gives. Raises CallerError `upload_timeout` where that takes longer."""
    try:
        async with asyncio.timeout(limit_s):
            return await reading
    except TimeoutError:
        limit = f"{limit_s:g} s (SIGHTLINE_API__UPLOAD_LIMIT_S)"
        raise CallerError("upload_timeout", f"The body did not arrive within {limit}.") from None


def _check_headers(request: Request, limit: int) -> None:
    length = b"0"
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.lower() not in (b"identity", b""):
            message = "Send the body without a content coding."
            raise CallerError("invalid_request", message, param="content-encoding")
        if name == b"content-length":
            length = value
    # Its digits are counted first: int() raises ValueError for thousands of them.
    if len(length) > 15 or int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> CallerError:
    settings = "SIGHTLINE_API__BODY_LIMIT_MB, for a file FILE_LIMIT_MB"
    return CallerError("payload_too_large", f"The body is larger than {limit} bytes ({settings}).")
