"""Decides who may call. With keys: a caller whose key is in force, has the scope and has quota left. Without
keys: this machine alone (`api.auth.local_only`), or everybody where a setting says so.

It wraps all routes, so that a route added tomorrow is guarded too.
"""

import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import callers
from api.auth.api_keys import LOCAL, ApiKeys
from api.auth.callers import Caller
from api.auth.local_only import check_local, check_page
from api.server import reply
from api.server.errors import pace, render
from shared.api_keys import Scope as KeyScope
from shared.errors import CallerError, ServiceError, Unavailable
from shared.log_throttle import LogThrottle
from shared.settings import MetricsSettings, Settings
from shared.store.api_keys import Use

METRICS = "/metrics"

OPEN = frozenset(("/health", "/ready"))
"""Paths for orchestrators, which have no keys; their answers tell nothing of any caller."""

PAGE_PATHS = ("/page/", "/docs")
"""The web pages' own files, which anybody may read: they fetch what they show with the key typed in."""

ADMIN_PATHS = "/v1/admin/"
UNLOAD = re.compile("/v1/models/.+/unload")
READING = ("GET", "HEAD")
FORECAST, FORECAST_BYTES = "/v1/estimate", 2**22
"""Sent while a question is typed. One no larger than the page sends costs little more than a look."""

# The Hugging Face page writes `Bearer: X`.
_BEARER = re.compile(r"bearer:?\s+(\S+)\s*", re.IGNORECASE)


log = logging.getLogger("api.server")

AGAIN_S = 5


class RequestLimit:
    """One per process. Probes and metrics are not counted: a busy process neither looks dead nor hides.

    Of `most` requests a stream or a wait is one for as long as it lasts.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests = Counter[str]()
        self._refusals = LogThrottle()

    def place(self, caller: str, *, shares: bool = True) -> AbstractContextManager[None]:
        """Counts one request of this caller while it is open.

        Raises Unavailable `caller_queue_full` or `queue_full`. With `shares` a caller may have no more open
        than stays free: the first up to half, the next a quarter. So streams that some callers leave open
        never cost others the last place. The rule is from Choudhury and Hahne, "Dynamic queue
        length thresholds", IEEE/ACM Transactions on Networking 6 (2), 1998.
        """
        own, free = self._requests[caller], self._most - self._requests.total()
        if own + 1 > free if shares else not free:
            self._log()
            if not shares:
                message = f"{self._most:,} requests are open already (SIGHTLINE_API__MAX_OPEN)."
                raise Unavailable("queue_full", message, retry_after=1)
            message = f"You have {own:,} requests open here, your share of SIGHTLINE_API__MAX_OPEN."
            raise Unavailable("caller_queue_full", message, retry_after=AGAIN_S)
        return self._counted(caller)

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        self._requests[caller] += 1
        try:
            yield
        finally:
            self._requests[caller] -= 1
            if not self._requests[caller]:
                del self._requests[caller]

    def _log(self) -> None:
        """Log the caller with most open requests, once a minute at most; no metric names a caller."""
        if self._refusals.due():
            callers = ", ".join(f"{caller} {count}" for caller, count in self._requests.most_common(3))
            log.warning(
                "requests are refused for what is open: %d of %s; most requests by caller: %s",
                self._requests.total(),
                self._most,
                callers or "none",
            )


class AuthMiddleware:
    """Wraps the routes; `api.server.middleware` wraps it."""

    def __init__(self, app: ASGIApp, max_open: int) -> None:
        self._app = app
        self._limit = RequestLimit(max_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            context = scope["app"].state.context
            caller = await _admitted(context.settings, context.api_keys, scope, headers)
            place = self._place(scope, caller)
        except ServiceError as error:
            await pace(headers, error)
            answer: reply.Reply = scope[reply.KEY]
            await render(error, scope["path"], answer.request_id)(scope, receive, send)
            return
        # The place is given back whatever becomes of the request.
        with place:
            scope[callers.KEY] = caller
            await self._app(scope, receive, send)

    def _place(self, scope: Scope, caller: Caller) -> AbstractContextManager[None]:
        """The request's place among the open ones; metrics are answered in any crowd."""
        if _path_of(scope) == METRICS:
            return nullcontext()
        return self._limit.place(caller.id, shares=caller.key is not None)


def _path_of(scope: Scope) -> str:
    """Return the path that routes have: uvicorn puts its --root-path before it (ASGI, HTTP scope)."""
    path, root = str(scope["path"]), scope.get("root_path", "")
    return path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path


def _is_open(scope: Scope) -> bool:
    path = _path_of(scope)
    return path in OPEN or path.startswith(PAGE_PATHS) or (path == "/" and scope["method"] in READING)


async def _admitted(settings: Settings, api_keys: ApiKeys, scope: Scope, headers: Headers) -> Caller:
    """Raises CallerError (`invalid_api_key`, `insufficient_scope`, `check_local`'s own), Unavailable."""
    if _path_of(scope) == METRICS and _is_scraper(settings.metrics, headers):
        return Caller(LOCAL)
    if not api_keys.on:
        api = settings.api
        check = check_page if api.open else check_local
        check(scope, api.cors_origins)
        return Caller(LOCAL)
    match = _BEARER.fullmatch(headers.get("authorization", ""))
    if match is None:
        message = "This service asks for an API key: send `Authorization: Bearer YOUR_KEY`."
        raise CallerError("invalid_api_key", message)
    client = scope.get("client")
    reads = _reads(scope, headers)
    use = await api_keys.use(match[1], client[0] if client else "", reads=reads)
    _check_scope(use, scope)
    if not reads:
        _check_quota(use, scope[reply.KEY])
    scope[reply.KEY].reservation.caller = use.key.caller
    return Caller(use.key.caller, use.key.max_queued, use.key.retain_s, use.key)


def _is_scraper(settings: MetricsSettings, headers: Headers) -> bool:
    """Whether the caller has the metrics token, which opens this path and nothing else."""
    match = _BEARER.fullmatch(headers.get("authorization", ""))
    if match is None or settings.token is None:
        return False
    return secrets.compare_digest(match[1].encode(), settings.token.get_secret_value().encode())


def _check_scope(use: Use, scope: Scope) -> None:
    needed: tuple[KeyScope, ...] = ("read",) if scope["method"] in READING else ("submit",)
    path = _path_of(scope)
    if (
        path.startswith(ADMIN_PATHS)
        or path == METRICS
        or (scope["method"] == "POST" and UNLOAD.fullmatch(path))
    ):
        needed = ("admin",)
    for name in needed:
        if name not in use.key.scopes:
            raise CallerError("insufficient_scope", f"This API key lacks the scope `{name}`.")


def _reads(scope: Scope, headers: Headers) -> bool:
    """Return True for a request that a key's quota does not count."""
    if _path_of(scope) != FORECAST:
        return scope["method"] in READING
    size = headers.get("content-length", "")
    return size.isdigit() and int(size) <= FORECAST_BYTES


def _check_quota(use: Use, answer: reply.Reply) -> None:
    """Write draft-ietf-httpapi-ratelimit-headers-10's headers. Raise Unavailable beyond the quota."""
    quota = use.key.requests_per_minute
    if quota is None:
        return
    answer.headers["ratelimit-policy"] = f'"requests";q={quota};w=60'
    answer.headers["ratelimit"] = f'"requests";r={max(use.left, 0)};t={use.reset_s}'
    if use.left < 0:
        message = f"This API key may make {quota} requests a minute besides reads."
        raise Unavailable("rate_limited", message, retry_after=use.reset_s)
