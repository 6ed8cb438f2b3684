"""Routes whose handlers read everything by hand."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api.wire import reply
from api.wire.sse import EventStream
from shared.models import RESERVED


class ModelId(PathConvertor):
    """`{id:model}` in a path: slashes and all, up to what the paths of a model reserve."""

    regex = rf"(?:(?!{RESERVED.pattern}).)+"


register_url_convertor("model", ModelId())


class PlainRoute(APIRoute):
    """Hands the request and the path's parameters, as text, to the handler, which answers with a response.

    FastAPI would look for dependencies and validate parameters on every call, a tenth of a cache hit's time;
    here are none. HEAD is answered as GET would be (RFC 9110, section 9.1), except by a stream; `methods`
    does not name it, because each method would be described as one more operation.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(self._as_get(scope))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: reply.Reply = scope[reply.KEY]
        answer.route = self.path_format
        await super().handle(self._as_get(scope), receive, send)

    def _as_get(self, scope: Scope) -> Scope:
        heads = scope["method"] == "HEAD" and self.response_class is not EventStream
        return {**scope, "method": "GET"} if heads else scope

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, **request.path_params)
            return response

        return handle
