"""Routes whose handlers read the request by hand, without FastAPI's validation."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette._utils import get_route_path
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api.server import reply
from shared.errors import CallerError
from shared.models import RESERVED


class ModelId(PathConvertor):
    """`{id:model}` in a path: a model's id, slashes included, up to a word that model paths reserve."""

    regex = rf"(?:(?!{RESERVED.pattern}).)+"


register_url_convertor("model", ModelId())


class PlainRoute(APIRoute):
    """Hands the handler the request and the path's parameters as text; it returns a response.

    FastAPI would resolve dependencies, validate parameters and keep exit stacks on every call, which takes a
    fifth of a cache hit's time. HEAD is answered as GET would be (RFC 9110, section 9.1); `methods` does not
    name it, because each method would be described as one more operation. A query parameter is refused if the
    route's description does not name it, or if it comes twice and is no list: ignoring it would return a list
    unfiltered, or filtered by one value of two.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **said: Any) -> None:
        super().__init__(path, endpoint, **said)
        self.app = self._plain
        self._beginning = path.partition("{")[0]
        described = (said.get("openapi_extra") or {}).get("parameters", ())
        # By name: whether the parameter is a list, which is sent one item at a time.
        self._queries: dict[str, bool] = {}
        for parameter in (found for found in described if found["in"] == "query"):
            listed = parameter["schema"].get("type") == "array"
            self._queries |= {parameter["name"]: listed, parameter["name"].removesuffix("[]"): listed}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Matching every route in full takes longer than most handlers.
        if not get_route_path(scope).startswith(self._beginning):
            return Match.NONE, {}
        return super().matches({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: reply.Reply = scope[reply.KEY]
        answer.route = self.path_format
        if scope["method"] == "HEAD" and "GET" in (self.methods or ()):
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def under(self, prefix: str) -> "PlainRoute":
        """The same route under a prefix too; that path is not described."""
        return PlainRoute(
            prefix + self.path,
            self.endpoint,
            methods=self.methods,
            response_class=self.response_class,
            openapi_extra=self.openapi_extra,
            include_in_schema=False,
        )

    async def _plain(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if self._queries:
            self._check(request)
        response: Response = await self.endpoint(request, **request.path_params)
        await response(scope, receive, send)

    def _check(self, request: Request) -> None:
        met: set[str] = set()
        for name, _ in request.query_params.multi_items():
            if name not in self._queries:
                shown = name[:80]
                message = f"`{shown}` is not a parameter of this call; remove it."
                raise CallerError("unknown_field", message, param=shown)
            if name in met and not self._queries[name]:
                raise CallerError("invalid_request", f"`{name}` is sent twice; send it once.", param=name)
            met.add(name)


# An answer in JSON.


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, "application/json")
