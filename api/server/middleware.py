"""The outermost layer around a request: sets its path and id, answers unexpected exceptions.

Pure ASGI: a `BaseHTTPMiddleware` would cost a task group and a queue on every request."""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPMethod, HTTPStatus

from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.server.errors import render
from api.server.memory_budget import MemoryBudget, Reservation
from api.server.reply import GUARDS, KEY, Reply, request_id_of
from api.server.shutdown import KEY as SHUTDOWN
from api.server.shutdown import Shutdown
from shared.errors import CallerError, InternalError, Unavailable
from shared.metrics.api_counters import HTTP, HTTP_SECONDS
from shared.telemetry import traces
from shared.telemetry.logs import about, fields

METHODS = frozenset(HTTPMethod)
"""Other methods share one label: a stranger can invent any number of them."""
NOT_OF_THE_ROUTE = 405
"""Methods that a route lacks share that label too: each would add a full set of histogram buckets."""
LEFT = 499
"""nginx's status for a caller who hung up before the answer began."""


def count_request(method: str, reply: Reply, took_s: float) -> None:
    """Call once, when the request ends. A request that was refused before has no route yet."""
    routed = method in METHODS and reply.status != NOT_OF_THE_ROUTE
    route, method = reply.route or "other", method if routed else "other"
    count, seconds = _series(route, method, str(reply.status or LEFT))
    count.inc()
    seconds.observe(took_s)


@lru_cache(1024)
def _series(route: str, method: str, status: str) -> tuple[Counter, Histogram]:
    """Looking them up takes longer than counting."""
    return HTTP.labels(route, method, status), HTTP_SECONDS.labels(route, method)


log = logging.getLogger("api.server")


def log_request(method: str, reply: Reply, took_s: float) -> None:
    """How a request went.

    The line names the route's template, or `other` where it was refused or none was found: no log repeats
    what a caller wrote into a path or query. A line without a status means that the caller left before an
    answer began.
    """
    if log.isEnabledFor(logging.INFO):
        route, took_ms = reply.route or "other", round(took_s * 1000, 1)
        log.info("request", extra=fields(method=method, route=route, status=reply.status, ms=took_ms))


STOPPING = Unavailable(
    "stopping", "This process is stopping; ask again. A job named by x-job-id continues.", retry_after=1
)
HEAD_LIMIT = 64 * 2**10
"""Bytes of a request's target and headers."""


def stopping(scope: Scope) -> bool:
    """Whether this process was asked to end."""
    shutdown = _shutdown(scope)
    return shutdown is not None and shutdown.begun


def _shutdown(scope: Scope) -> Shutdown | None:
    shutdown: Shutdown | None = scope.get("state", {}).get(SHUTDOWN)
    return shutdown


class RequestMiddleware:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._budget = MemoryBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ended, is_head = False, scope["method"] == "HEAD"

        async def respond(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                if reply.status is not None:
                    return
                reply.status = message["status"]
                # A body that comes too slowly is not read to its end: its connection is of no more use.
                closing = stopping(scope) or reply.status == HTTPStatus.REQUEST_TIMEOUT
                message["headers"] = _headers(message.get("headers", ()), reply, closing=closing)
            elif ended:
                return
            elif is_head:
                message = {"type": "http.response.body", "body": b""}
            await send(message)
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        reply = Reply(request_id_of(scope["headers"]), Reservation(self._budget), respond)
        shutdown = _shutdown(scope)
        if shutdown is not None:
            shutdown.note_request()
        if scope["scheme"] == "https" and (seconds := scope["app"].state.context.settings.api.hsts_s):
            # Browsers heed this over https only (RFC 6797, section 7.2).
            reply.headers["strict-transport-security"] = f"max-age={seconds}"
        # HEAD is answered as GET would be (RFC 9110, section 9.1), without its body.
        method = "GET" if is_head else scope["method"]
        # One slash at the end carries no meaning: clients join URLs carelessly.
        path = scope["path"].removesuffix("/") or "/"
        inner = {**scope, KEY: reply, "method": method, "path": path, "client": _client(scope)}
        began = time.perf_counter()
        # Every line logged within carries its id.
        with about(request_id=reply.request_id, trace_id=traces.trace_id()):
            try:
                await self._answer(inner, receive, respond, reply)
            finally:
                took_s = time.perf_counter() - began
                reply.route = getattr(inner.get("route"), "path_format", "")
                count_request(scope["method"], reply, took_s)
                log_request(scope["method"], reply, took_s)
                await reply.reservation.release()
        if ended and reply.afterwards and not is_head:
            await reply.afterwards()

    async def _answer(self, scope: Scope, receive: Receive, respond: Send, reply: Reply) -> None:
        try:
            _check_head(scope)
        except CallerError as error:
            await render(error, scope["path"], reply.request_id)(scope, receive, respond)
            return
        try:
            await self._app(scope, receive, respond)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # uvicorn is shutting down and has stopped waiting; it would answer 500 in plain text.
            if reply.status is None or reply.kept_alive:
                await render(STOPPING, scope["path"], reply.request_id)(scope, receive, respond)
            # uvicorn would log a traceback of what its task's outermost frame raises.
            if not stopping(scope):
                raise
        except Exception:
            log.exception("request %s failed", reply.request_id)
            # The outermost frame of a request. Where the answer has begun, returning without its end makes
            # the server abort the transfer, which no client can take for a complete answer.
            if reply.status is None:
                await render(InternalError(), scope["path"], reply.request_id)(scope, receive, respond)


def _check_head(scope: Scope) -> None:
    """Raises CallerError `headers_too_large`."""
    target = len(scope["path"]) + len(scope["query_string"])
    if target + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_LIMIT:
        message = f"The request's head is larger than {HEAD_LIMIT // 1024} KiB."
        raise CallerError("headers_too_large", message)


def _headers(
    given: Sequence[tuple[bytes, bytes]], reply: Reply, *, closing: bool
) -> list[tuple[bytes, bytes]]:
    """The answer's own headers, and those of every answer that it does not set itself."""
    own = dict(given)
    guards = [guard for guard in GUARDS if guard[0] not in own]
    connection = [(b"connection", b"close")] if closing else []
    return [*given, *reply.raw_headers, *guards, *connection]


def _client(scope: Scope) -> tuple[str, int] | None:
    """Return address and port, or None if there is no address.

    uvicorn takes any text in a proxy's header for an address, even what the proxy's own caller wrote.
    """
    client = scope.get("client")
    with contextlib.suppress(ValueError):
        if client is not None and "%" not in client[0]:
            return _spelled(client[0]), client[1]
    return None


@lru_cache(1024)
def _spelled(address: str) -> str:
    """An address in its one spelling. Raises ValueError."""
    return str(ipaddress.ip_address(address))


async def disconnected(request: Request) -> None:
    """Return when the client has hung up. Call only after the body was read to its end."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
