"""Which web pages may call from a browser (CORS): those of `SIGHTLINE_API__CORS_ORIGINS`, by default none.

No cookie identifies a caller, so CORS credentials are never allowed: a page sends its key itself.
"""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.server import reply

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
BELIEVED_S = 600
"""How long a browser caches a preflight's answer; an origin taken off the list may call for so long."""


class Cors:
    """Wraps the gate, which would refuse a browser's preflight request: that carries no key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            origins = scope["app"].state.context.settings.api.cors_origins
            if origins and _let(Headers(scope=scope), origins, scope[reply.KEY]):
                preflight = _preflight(scope)
                if preflight is not None:
                    await preflight(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _let(headers: Headers, origins: tuple[str, ...], answer: reply.Reply) -> bool:
    """Whether the page may read the answer; sets the headers that tell the browser."""
    everybody = "*" in origins
    if not everybody:
        answer.headers["vary"] = "Origin"
    origin = headers.get("origin")
    if origin is None or not (everybody or origin.lower() in origins):
        return False
    answer.headers["access-control-allow-origin"] = "*" if everybody else origin
    answer.headers["access-control-expose-headers"] = "*"
    return True


def _preflight(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    reply_headers = {"access-control-allow-methods": METHODS, "access-control-max-age": str(BELIEVED_S)}
    # Headers are named one by one: `*` does not cover `Authorization`.
    requested = headers.get("access-control-request-headers")
    return Response(
        None, 204, reply_headers | ({"access-control-allow-headers": requested} if requested else {})
    )
