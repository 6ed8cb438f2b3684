"""One HTTP connection with limits that uvicorn's lacks: `uvicorn --http api.server.protocol:LimitedProtocol`.

uvicorn keeps a request's head until it is complete, however long and however slow, and answers what it cannot
parse in plain text. It sends chunks to HTTP/1.0 clients, and shuts down while callers are still sending.
Bodies are limited where they are read (`api.server.body`).

It also loses the body of a request that offers another protocol, as Java's HttpClient does with HTTP/2; here
such an offer is ignored (RFC 9110, section 7.8).
"""

import asyncio
from functools import partial
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.server import connection_limit, ending
from api.server.middleware import PEER
from api.server.reader_watch import ReaderWatch
from api.server.request_head import HEAD_LIMIT, fault_of, refusal, too_large, with_its_host, without_offer
from api.server.unchunked import unchunked
from shared.errors import CallerError, ServiceError

HEAD_LIMIT_S = 8.0
LINGER_S = 2.0
CROWDED_KEEP_S = 1
"""How long an idle connection is kept once half of all places are taken (a new one: HEAD_LIMIT_S)."""
PARTING_S, PARTING_HEAD_S = 0.1, 1.0
"""After the port closes: time for requests on their way, and for the rest of a head that has begun."""


class LimitedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long, too slow or not HTTP, and requests on a connection over the limit."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Refused here, since uvicorn answers in plain text.
        most, self.limit_concurrency = self.limit_concurrency, None
        self._limit: connection_limit.ConnectionLimit = self.app_state.setdefault(
            connection_limit.KEY, connection_limit.ConnectionLimit(self.connections, most)
        )
        self._ending: ending.Ending = self.app_state.get(ending.KEY) or ending.Ending()
        self._keep_s = self.timeout_keep_alive
        self._in_head = False
        self._answering: RequestResponseCycle | None = None
        self._steps = 0
        self._pending_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: ServiceError | None = None
        self._refused = False
        # uvicorn sets these only at a request's first byte.
        self.url, self.headers = b"", []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request may take as long to come as the next: balancers connect ahead."""
        super().connection_made(transport)
        self._watch = ReaderWatch(transport, self.loop)
        self._keep(HEAD_LIMIT_S if self._limit.is_large() else self.timeout_keep_alive)
        if self._limit.is_large() and not self._limit.is_large(but=1):
            for connection in self.connections:
                if isinstance(connection, LimitedProtocol):
                    connection.hurry()

    def hurry(self) -> None:
        """Others need its place: a connection without a request yet now has HEAD_LIMIT_S to send one."""
        task = self.timeout_keep_alive_task
        if self.cycle is None and task is not None and task.when() > self.loop.time() + HEAD_LIMIT_S:
            self._keep(HEAD_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._watch.end()
        if self._answering is not None:
            # uvicorn notifies only the latest request, which may be waiting behind this one.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._limit.leave(self)

    def pause_writing(self) -> None:
        """The client does not read the answer as fast as it is written."""
        super().pause_writing()
        self._watch.begin()

    def resume_writing(self) -> None:
        """Little is left to write; if that is the last, the client must read it, too."""
        if not self.transport.is_closing():
            self._watch.end()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Data that completes nothing stays in the parser's memory: part of a head, or of a body's trailer.

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
            self._refuse(too_large())
        else:
            self._expect_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self.scope["state"][PEER] = self.client

    def on_header(self, name: bytes, value: bytes) -> None:
        """Ignores trailers, which uvicorn takes for headers (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """An exception raised here reaches `send_400_response` through the parser."""
        self._in_head = False
        self._steps += 1
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._ending.note_request()
        crowded = self._limit.refusal(self, self.url, self.headers)
        self._refusal = crowded or fault_of(self.parser.get_http_version(), self.url, self.headers)
        if self._refusal:
            raise self._refusal
        self.url, self.headers[:] = with_its_host(self.url, self.headers)
        if not self._offers():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._offers():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.timeout_keep_alive = CROWDED_KEEP_S if self._limit.is_large() else self._keep_s
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch.begin()
        elif self._in_head:
            # The next request has begun.
            self._unset_keepalive_if_required()
            self._expect_head()

    def shutdown(self) -> None:
        """Requests sent before the port closed are still answered; a begun head has PARTING_HEAD_S left."""
        self._ending.begun = True
        if self._is_answered():
            self._keep(PARTING_S)
            if self._in_head:
                self._stop_timer()
                self._timer = self.loop.call_later(PARTING_HEAD_S, self._give_up, PARTING_HEAD_S)
        elif not self._in_head:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Closing waits until the client has read what is left."""
        super().timeout_keep_alive_handler()
        self._watch.begin()

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
        """A loop, no recursion: thousands of requests, each offering a protocol, may come in one piece."""
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

        async def quiet(scope: Any, receive: Any, send: Any) -> None:
            if scope["http_version"] == "1.0":
                send = unchunked(cycle, send)
            try:
                await app(
                    {**scope, connection_limit.KEY: self._limit}, receive, partial(self._send, cycle, send)
                )
            except asyncio.CancelledError:
                # The process is ending: no error, whether the answer is whole or cut off.
                if cycle.response_complete:
                    return
                if not self._ending.begun:
                    raise
                cycle.disconnected = True
                self.transport.close()

        super()._start_asgi_task(cycle, quiet)

    async def _send(self, cycle: RequestResponseCycle, send: Send, message: Message) -> None:
        """Mark a connection's last answer as such; on a connection over the limit that is the next one."""
        last = self._ending.begun and self.cycle is cycle and not self._in_head
        if message["type"] == "http.response.start" and (last or self._limit.is_beyond(self)):
            cycle.keep_alive = False
        await send(message)

    def _offers(self) -> bool:
        """Whether the head just read offers another protocol; CONNECT does not."""
        return bool(self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT")

    def _read_on(self) -> None:
        """Parse the head again without its offer: the parser took what follows for the other protocol."""
        first = b"%s %s HTTP/%s" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode("ascii"),
        )
        lines = [first, *(b"%s: %s" % header for header in without_offer(self.headers)), b"", b""]
        self.parser = HttpRequestParser(self)
        # As uvicorn makes its own.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join(lines))

    def _expect_head(self) -> None:
        """Limit the time for the rest of a head, unless an earlier request still waits for its answer.

        uvicorn reads no further then, and giving up would lose that answer.
        """
        if self._in_head and self._is_answered() and self._timer is None:
            self._timer = self.loop.call_later(HEAD_LIMIT_S, self._give_up, HEAD_LIMIT_S)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, limit_s: float) -> None:
        message = f"The request's headers did not arrive within {limit_s:g} s."
        self._refuse(CallerError("upload_timeout", message))

    def _keep(self, seconds: float) -> None:
        """Close after so long, unless a request begins."""
        self._unset_keepalive_if_required()
        if not self._in_head:
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Answer, read on for a while, close: closing with unread input may cost the client the answer.

        Where an earlier request is whole, its answer goes out first. Where it is not, but its answer has
        begun, only close: the refusal would end up inside that answer.
        """
        self._refused = True
        # No request comes of it, so nothing else counts it.
        answer = refusal(error, self.url, self.headers)
        self._stop_timer()
        if not self._is_answered():
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                return
            if self.cycle.response_started or self.pipeline:
                self.transport.close()
                return
            # The handler waits for a body that will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(answer)
        # TLS cannot end one direction alone.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watch.begin()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)
