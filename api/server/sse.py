"""Server-sent events: encoding a block, and the answer that carries a stream of them.

HTML standard, section 9.2. A block without `data:` is never sent: openai's Python client fails on one.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from api.dialects.openai.errors import StreamError, to_stream_error
from api.server.middleware import STOPPING, disconnected
from shared.errors import InternalError, ServiceError
from shared.json_line import to_json

log = logging.getLogger("api.server")
Item = TypeVar("Item")

DONE = b"data: [DONE]\n\n"
STRETCH = 64 * 2**10
"""Bytes of a block that are sent at once; the next follow when the client has read them."""
_HEADERS = {"x-accel-buffering": "no", "cache-control": "no-store, no-transform"}
"""They tell proxies to hold no event back, neither to fill a buffer nor to compress it with the next."""


def block(data: bytes, *, event: str | None = None, id: int | None = None) -> bytes:
    """One event; `data` is JSON, which holds no line break."""
    head = b"" if id is None else b"id: %d\n" % id
    name = b"" if event is None else b"event: %s\n" % event.encode("ascii")
    return b"%s%sdata: %s\n\n" % (head, name, data)


def comment(text: str) -> bytes:
    """A keep-alive line, ignored by every client."""
    return b": %s\n\n" % text.encode("ascii", "replace")


class EventStream(Response, Generic[Item]):
    """Sends `blocks` as they come; the data of each event is an Item.

    Headers leave with the first block or after `head_start_s`: a ServiceError raised before is an ordinary
    HTTP error with its status, one raised later becomes an error event and the end. When the client
    disconnects `on_disconnect` is called and `blocks` is closed; when this process stops, the error
    `stopping` ends the stream.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        blocks: AsyncGenerator[bytes],
        *,
        on_disconnect: Callable[[], None] | None = None,
        error_data: Callable[[ServiceError], StreamError] = to_stream_error,
    ) -> None:
        super().__init__(None, headers=_HEADERS)
        del self.headers["content-length"]
        self._blocks = blocks
        self._on_disconnect = on_disconnect
        self._error_data = error_data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head_start_s = scope["app"].state.context.settings.api.head_start_s
        pump = asyncio.ensure_future(self._pump(send, head_start_s))
        gone = asyncio.ensure_future(disconnected(Request(scope, receive)))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
            elif self._on_disconnect is not None:
                self._on_disconnect()
        finally:
            pump.cancel()
            gone.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)
            await self._blocks.aclose()

    async def _pump(self, send: Send, head_start_s: float) -> None:
        first = asyncio.ensure_future(self._next())
        try:
            await asyncio.wait({first}, timeout=head_start_s)
            if first.done():
                first.result()
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await self._send_all(first, send)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    async def _send_all(self, first: "asyncio.Future[bytes | None]", send: Send) -> None:
        if not first.done():
            await send(_body(comment("waiting")))
        try:
            part = await first
            while part is not None:
                for at in range(0, len(part), STRETCH):
                    await send(_body(part[at : at + STRETCH]))
                part = await self._next()
        except ServiceError as error:
            await send(_body(_error_block(self._error_data(error))))
        except Exception:
            # The outermost frame of a stream that has begun: its reader must not take this for a clean end.
            log.exception("an event stream failed")
            await send(_body(_error_block(self._error_data(InternalError()))))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._blocks, None)
        except asyncio.CancelledError:
            # The process stops. A client that has left hears nothing of it.
            raise STOPPING from None


def _body(part: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": part, "more_body": True}


def _error_block(data: StreamError) -> bytes:
    """LangChain4j knows an error only by its event's name; go-openai loses one whose name comes first."""
    return b"data: %s\nevent: error\n\n" % to_json(data)
