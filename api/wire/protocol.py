"""One HTTP connection with limits that uvicorn's lacks: `uvicorn --http api.wire.protocol:LimitedProtocol`.

Its parser keeps a request's head until it is complete, however long it grows and however slowly it comes, and
answers what it cannot parse in plain text. Bodies are limited where they are read (`api.wire.body`).
"""

import asyncio
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.dialects.openai_errors import to_error
from api.wire.problems import retry_after
from shared.errors import CallerError, ServiceError, Unavailable
from shared.metrics.requests import REFUSALS

HEAD_LIMIT = 64 * 2**10
HEAD_LIMIT_S = 8.0
LINGER_S = 2.0
CROWDED_KEEP_S = 1
"""How long an unused connection is kept once half of all that may be open are."""


class LimitedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long, too late or no HTTP, and requests on one connection too many."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Refused here, since uvicorn answers in plain text.
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        self._in_head = True
        self._steps = 0
        self._pending_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: ServiceError | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_LIMIT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What takes the parser no step further is kept by it: a head, but also a body's trailer."""
        if self._refused:
            return
        steps = self._steps
        super().data_received(data)
        if self._refused:
            return
        self._pending_bytes = self._pending_bytes + len(data) if self._steps == steps else 0
        if self._pending_bytes > HEAD_LIMIT:
            self._refuse(_too_large())
        elif self._in_head and self._timer is None:
            self._timer = self.loop.call_later(HEAD_LIMIT_S, self._give_up)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What is raised here comes back through the parser to `send_400_response`."""
        self._in_head = False
        self._steps += 1
        self._stop_timer()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT:
            self._refusal = _too_large()
        elif self._most_connections is not None and len(self.connections) > self._most_connections:
            self._refusal = Unavailable("queue_full", "Too many connections are open.", retry_after=1)
        if self._refusal:
            raise self._refusal
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if self._most_connections is not None and 2 * len(self.connections) > self._most_connections:
            self.timeout_keep_alive = CROWDED_KEEP_S
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name and text
        self._refuse(self._refusal or CallerError("invalid_request", "This is no valid HTTP/1.1 request."))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._pending_bytes:
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
        REFUSALS.labels(error.code).inc()
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            if not self._is_own():
                self.transport.close()
                return
            # The handler waits for a body that will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(error))
        # TLS cannot end one direction alone.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _is_own(self) -> bool:
        """Whether what is refused belongs to the request being read, whose answer has not begun."""
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline


def _answer(error: ServiceError) -> bytes:
    body = to_json(to_error(error))
    lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
    if error.retryable:
        lines.append(b"retry-after: " + retry_after(error.retry_after).encode())
    return STATUS_LINE[error.status] + b"\r\n".join([*lines, b"", body])


def _too_large() -> CallerError:
    return CallerError("headers_too_large", f"The request's head is larger than {HEAD_LIMIT // 1024} KiB.")
