"""One HTTP connection with limits that uvicorn's lacks: `uvicorn --http api.wire.protocol:LimitedProtocol`.

Its parser keeps a request's head until it is complete, however long it grows and however slowly it comes, and
answers what it cannot parse in plain text. Bodies are limited where they are read (`api.wire.body`).

It also loses the body of a request that offers another protocol, as Java's HttpClient does with HTTP/2: here
such an offer is read over (RFC 9110, section 7.8).
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.wire.problems import render
from api.wire.reply import GUARDS, request_id_of
from shared.errors import CallerError, ServiceError, Unavailable

HEAD_LIMIT = 64 * 2**10
HEAD_LIMIT_S = 8.0
LINGER_S = 2.0
OFFER = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an offer, which `Connection` names too."""
CROWDED_KEEP_S = 1
"""How long an unused connection is kept once half of all that may be open are."""
UNREAD, UNREAD_LIMIT_S = 64 * 2**10, 30.0
"""So many bytes of an answer, or the rest of it, have to be taken in that time: else they stay in memory."""
_ABSOLUTE = re.compile(rb"([^/?#:]+://([^/?#]+))/?(.*)")
"""A target with a host, which counts instead of the Host header (RFC 9112, section 3.2.2). Without a path it
means `/`, which uvicorn misses."""


class LimitedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long, too late or no HTTP, and requests on one connection too many."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Refused here, since uvicorn answers in plain text.
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        self._in_head = False
        self._answering: RequestResponseCycle | None = None
        self._steps = 0
        self._pending_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._refusal: ServiceError | None = None
        self._refused = False
        # As uvicorn has them from the first byte of a request on.
        self.url, self.headers = b"", []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_LIMIT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_reading()
        if self._answering is not None:
            # uvicorn tells the request that came last, which may be waiting behind this one.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The answer has come to where its reader does not follow."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        self._stop_reading()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """What takes the parser no step further is kept by it: a head, but also a body's trailer.

        Only a request ends the pause between two: blank lines, or a body that nobody reads, do not.
        """
        if self._refused:
            return
        steps = self._steps
        self._feed(data)
        if self._refused:
            return
        self._pending_bytes = self._pending_bytes + len(data) if self._steps == steps else 0
        if self._pending_bytes > HEAD_LIMIT:
            self._refuse(_too_large())
        else:
            self._expect_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers, which uvicorn takes for headers, are read over (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What is raised here comes back through the parser to `send_400_response`."""
        self._in_head = False
        self._steps += 1
        self._stop_timer()
        self._unset_keepalive_if_required()
        if absolute := _ABSOLUTE.fullmatch(self.url):
            self.url = b"%s/%s" % (absolute[1], absolute[3])
            host = absolute[2].rpartition(b"@")[2]
            self.headers[:] = [(name, host if name == b"host" else value) for name, value in self.headers]
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT:
            self._refusal = _too_large()
        elif self._most_connections is not None and len(self.connections) > self._most_connections:
            self._refusal = Unavailable("queue_full", "Too many connections are open.", retry_after=1)
        if self._refusal:
            raise self._refusal
        if not self._offers():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._offers():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._most_connections is not None and 2 * len(self.connections) > self._most_connections:
            self.timeout_keep_alive = CROWDED_KEEP_S
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        elif self._in_head:
            # The next request has begun.
            self._unset_keepalive_if_required()
            self._expect_head()

    def timeout_keep_alive_handler(self) -> None:
        """Closing waits until somebody has read what is left."""
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name and text
        self._refuse(self._refusal or CallerError("invalid_request", "This is no valid HTTP/1.1 request."))

    def _feed(self, data: bytes) -> None:
        try:
            self._parse(memoryview(data))
        except HttpParserError:
            self.send_400_response("")

    def _parse(self, left: memoryview) -> None:
        """Not one inside the other: thousands of requests that each make an offer may come at once."""
        while left:
            try:
                self.parser.feed_data(left)
                return
            except HttpParserUpgrade as stopped:
                if not self._offers():
                    return
                left = left[stopped.args[0] :]
            self._read_on()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle

        async def quiet(*connection: Any) -> None:
            try:
                await app(*connection)
            except asyncio.CancelledError:
                # The process ends; an answer that is whole by then is no error.
                if not cycle.response_complete:
                    raise

        super()._start_asgi_task(cycle, quiet)

    def _offers(self) -> bool:
        """Whether the head that was read offers another protocol; what asks for a tunnel does not."""
        return bool(self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT")

    def _read_on(self) -> None:
        """Read the head again without its offer: the parser takes all behind it for the other protocol."""
        first = b"%s %s HTTP/%s" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode("ascii"),
        )
        lines = [first, *(b"%s: %s" % header for header in _without_offer(self.headers)), b"", b""]
        self.parser = HttpRequestParser(self)
        # As uvicorn makes its own.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join(lines))

    def _expect_head(self) -> None:
        """The rest of one that has begun. While an earlier request waits for its answer nobody is late.

        uvicorn reads no further then, and giving up would take the answer with it.
        """
        answered = self.cycle is None or self.cycle.response_complete
        if self._in_head and answered and self._timer is None:
            self._timer = self.loop.call_later(HEAD_LIMIT_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_reading(self) -> None:
        self._stop_reading()
        left = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(UNREAD_LIMIT_S, self._look, left)

    def _look(self, before: int) -> None:
        """Whether enough was read."""
        if before - self.transport.get_write_buffer_size() < UNREAD:
            self.transport.abort()
        else:
            self._expect_reading()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _give_up(self) -> None:
        if self._in_head or self._pending_bytes:
            message = f"The request's headers did not arrive within {HEAD_LIMIT_S:g} s."
            self._refuse(CallerError("upload_timeout", message))
        else:
            self.transport.close()

    def _refuse(self, error: ServiceError) -> None:
        """Answer, read on for a while, close: closing over unread input may cost the client the answer.

        Only close where the answer would end up inside that to an earlier request.
        """
        self._refused = True
        # It becomes no request, and stands in no other count.
        answer = _answer(error, self.url, self.headers)
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            if not self._is_own():
                self.transport.close()
                return
            # The handler waits for a body that will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(answer)
        # TLS cannot end one direction alone.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect_reading()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _is_own(self) -> bool:
        """Whether what is refused belongs to the request being read, whose answer has not begun."""
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline


def _without_offer(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            words = (word.strip() for word in value.split(b","))
            yield name, b", ".join(word for word in words if word.lower() not in OFFER)
        elif name not in OFFER:
            yield name, value


def _answer(error: ServiceError, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The refusal of a request of which so much was read, counted; `api.wire.edge` never sees it."""
    request_id = request_id_of(headers)
    response = render(error, _path(url), request_id)
    own = ((b"x-request-id", request_id.encode("ascii")), *GUARDS, (b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % line for line in (*response.raw_headers, *own))
    return STATUS_LINE[error.status] + lines + b"\r\n" + bytes(response.body)


def _path(target: bytes) -> str:
    """Empty where there is none; what a proxy is asked for names the origin before it."""
    try:
        return (parse_url(target).path or b"/").decode("latin-1")
    except HttpParserInvalidURLError:
        return ""


def _too_large() -> CallerError:
    return CallerError("headers_too_large", f"The request's head is larger than {HEAD_LIMIT // 1024} KiB.")
