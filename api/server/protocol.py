"""uvicorn's HTTP protocol with what it lacks: `uvicorn --http api.server.protocol:HttpProtocol`.

It bounds the memory of a head that does not end, reads the body of a request that offers another protocol (as
Java's HttpClient offers HTTP/2: RFC 9110, section 7.8), and takes no trailer for a header (section 6.5.1).
Slow heads, slow readers and crowds of idle connections are a proxy's business (docs/transport.md).
"""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.server import shutdown
from api.server.middleware import HEAD_LIMIT, PEER

OFFER = frozenset((b"upgrade", b"http2-settings"))
"""Headers that offer to switch to another protocol; `Connection` names them too."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._shutdown: shutdown.Shutdown = self.app_state.get(shutdown.KEY) or shutdown.Shutdown()
        self._shutdown.answering = self.tasks
        self._answering: RequestResponseCycle | None = None
        self._in_head = False
        self._unparsed = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Of requests that came together uvicorn tells the last, though one before may be answered."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Data that completes nothing stays in the parser's memory: a part of a head, or of a trailer."""
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self._parse(memoryview(data))
        except HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            if self._unparsed > HEAD_LIMIT:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()
        self.scope["state"][PEER] = self.client

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._unparsed = False, 0
        if not self._offers():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self._offers():
            super().on_message_complete()

    def shutdown(self) -> None:
        self._shutdown.begun = True
        super().shutdown()

    def _parse(self, rest: memoryview) -> None:
        """A loop, no recursion: thousands of requests, each offering a protocol, may come in one piece."""
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except HttpParserUpgrade as stopped:
                if not self._offers():
                    raise HttpParserError("CONNECT") from None
                rest = rest[stopped.args[0] :]
            self._parse_without_offer()

    def _offers(self) -> bool:
        """Whether the head just read offers another protocol; CONNECT does not."""
        return bool(self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT")

    def _parse_without_offer(self) -> None:
        """Parse the head again: the parser took what follows it for the other protocol."""
        version = self.parser.get_http_version().encode("ascii")
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        lines = [first, *(b"%s: %s" % header for header in _without_offer(self.headers)), b"", b""]
        self.parser = HttpRequestParser(self)
        # As uvicorn makes its own.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join(lines))

    def _refuse(self, status: HTTPStatus) -> None:
        """In plain text: no request comes of it, so nobody knows in which dialect."""
        text = b"%s: this is no valid HTTP/1.1 request.\n" % status.phrase.encode("ascii")
        lines = (STATUS_LINE[status], b"content-type: text/plain\r\nconnection: close\r\n")
        self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (b"".join(lines), len(text), text))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle

        async def cancellable(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                # The process ends: no error, whether the answer is whole or cut off.
                if not self._shutdown.begun:
                    raise
                if not cycle.response_complete:
                    cycle.disconnected = True
                    self.transport.close()

        super()._start_asgi_task(cycle, cancellable)


def _without_offer(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            words = (word.strip() for word in value.split(b","))
            yield name, b", ".join(word for word in words if word.lower() not in OFFER)
        elif name not in OFFER:
            yield name, value
