"""Receiving a body: counted as it arrives, within a time, before anything reads it.

A chunked body has no length to check beforehand, so received bytes are what counts.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.reply import reply_of
from shared.errors import CallerError
from shared.settings import ApiSettings

T = TypeVar("T")

_SMALL = 64 * 2**10


async def translated(body: bytes, read: Callable[[bytes], T]) -> T:
    """`read(body)`; a large one off the event loop, where it would hold up every stream."""
    return read(body) if len(body) <= _SMALL else await asyncio.to_thread(read, body)


async def read_body(request: Request, limits: ApiSettings) -> bytes:
    """Raises CallerError (payload_too_large, upload_timeout, invalid_request), ClientDisconnect."""
    limit = int(limits.body_limit_mb * 2**20)
    reply_of(request).unread = True
    _check_headers(request, limit)
    try:
        async with asyncio.timeout(limits.upload_limit_s):
            return await _receive(request, limit)
    except TimeoutError:
        message = f"The body did not arrive within {limits.upload_limit_s:g} s."
        raise CallerError("upload_timeout", message) from None


def _check_headers(request: Request, limit: int) -> None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise CallerError(
            "invalid_request", "Send the body without a content coding.", param="content-encoding"
        )
    # Compared as text first: int() refuses thousands of digits with an error of its own.
    length = request.headers.get("content-length", "").lstrip("0")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > limit):
        raise _too_large(limit)


async def _receive(request: Request, limit: int) -> bytes:
    chunks = []
    received = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        received += len(chunk)
        more = message.get("more_body", False)
        reply_of(request).unread = more
        if received > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not more:
            return b"".join(chunks) if len(chunks) > 1 else chunk


def _too_large(limit: int) -> CallerError:
    return CallerError("payload_too_large", f"The body is larger than {limit} bytes.")
