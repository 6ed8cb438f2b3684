"""Typed handlers: FastAPI describes a handler by its signature, and this module's route calls it.

    async def chat_completions(
        http: Request,
        headers: JobHeaders,
        chat: Annotated[Completion, json_body(ChatBody, from_chat)],
    ) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]: ...

FastAPI's own way of calling a handler has no limits on what a body may hold, parses whole bodies on the event
loop, and resolves dependencies on every call.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from api.dialects.strict_json import Wire
from api.server import errors, reply
from api.server.body import RawBody, read_body, read_json
from api.server.sse import EventStream, event_schema
from shared.errors import CallerError
from shared.json_line import to_json
from shared.models import RESERVED

T = TypeVar("T")
SSE = "text/event-stream"
MOST_PATHS, LONGEST_PATH = 1024, 256
"""Paths that are remembered, and characters that one may have."""


def path_of(scope: Scope) -> str:
    """The path that routes have: uvicorn puts its --root-path before it (ASGI, HTTP connection scope)."""
    path, root = str(scope["path"]), scope.get("root_path", "")
    return path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path


@dataclass(frozen=True)
class Body:
    """Marks the parameter that takes the body: described as `model`; `read` gives the parameter's value."""

    model: type[Wire]
    read: Callable[[Request], Awaitable[Any]]


def json_body(model: type[Wire], read: Callable[[Any], Any], *, optional: bool = False) -> Body:
    """What `read` makes of the JSON; an empty body that is `optional` is an empty object."""
    return Body(model, partial(read_json, read=read, optional=optional))


def raw_body(model: type[Wire], read: Callable[[bytes, str | None], Any]) -> Body:
    """A `RawBody`: `read` makes something of its bytes, which need not be JSON, and of the content type."""

    async def receive(http: Request) -> RawBody[Any]:
        kind = http.headers.get("content-type")
        return RawBody(await read_body(http), reply.reply_of(http), lambda raw: read(raw, kind))

    return Body(model, receive)


class Headers(BaseModel, frozen=True):
    """Headers that a handler takes as one parameter: described by their fields, read by `of`."""

    @classmethod
    def of(cls, http: Request) -> "Headers":
        raise NotImplementedError


class Json(Response, Generic[T]):
    """An answer in JSON."""

    def __init__(self, answer: T, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(answer), status, headers, "application/json")


class ModelId(PathConvertor):
    """`{id:model}` in a path: a model's id, slashes included, up to a word that model paths reserve."""

    regex = rf"(?:(?!{RESERVED.pattern}).)+"


register_url_convertor("model", ModelId())


class ServiceRoute(APIRoute):
    """Gives the handler the request and what its signature names; path parameters as text.

    HEAD is answered as GET would be (RFC 9110, section 9.1); `methods` does not name it, because each method
    would be described as one more operation. A query parameter is refused if the route's description does not
    name it, or if it comes twice and is no list: ignoring it would return a list unfiltered, or filtered by
    one value of two.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._handler, self._options = endpoint, options
        self._body: tuple[str, Body] | None = None
        self._headers: tuple[str, type[Headers]] | None = None
        self._signature = inspect.signature(endpoint, eval_str=True)
        for name, parameter in self._signature.parameters.items():
            kind = parameter.annotation
            for mark in get_args(kind):
                if isinstance(mark, Body):
                    self._body = name, mark
            if inspect.isclass(kind) and issubclass(kind, Headers):
                self._headers = name, kind
        # Without models of bodies and answers: only `described` needs them, and making them takes long.
        bare = {**options, "responses": None, "response_model": None}
        super().__init__(path, self._handler_of((), Response), **bare)
        self.app = self._call
        self._beginning = path.partition("{")[0]
        described = (options.get("openapi_extra") or {}).get("parameters", ())
        # By name: whether the parameter is a list, which is sent one item at a time.
        self._queries: dict[str, bool] = {}
        for query in (parameter for parameter in described if parameter["in"] == "query"):
            is_list = query["schema"].get("type") == "array"
            self._queries |= {query["name"]: is_list, query["name"].removesuffix("[]"): is_list}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Matching every route in full takes longer than most handlers.
        if not path_of(scope).startswith(self._beginning):
            return Match.NONE, {}
        return super().matches({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: reply.Reply = scope[reply.KEY]
        answer.route = self.path_format
        if scope["method"] == "HEAD" and "GET" in (self.methods or ()):
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def under(self, prefix: str) -> "ServiceRoute":
        """The same route under a prefix too; that path is not described."""
        route = copy(self)
        route.path = prefix + self.path
        route.path_regex, route.path_format, route.param_convertors = compile_path(route.path)
        route.include_in_schema = False
        route._beginning = prefix + self._beginning
        return route

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive, send)
        if self._queries:
            self._check_query(http)
        arguments: dict[str, Any] = dict(http.path_params)
        if self._body is not None:
            name, body = self._body
            arguments[name] = await body.read(http)
        if self._headers is not None:
            name, headers = self._headers
            arguments[name] = headers.of(http)
        response: Response = await self._handler(http, **arguments)
        await response(scope, receive, send)

    def _check_query(self, http: Request) -> None:
        names: set[str] = set()
        for name, _ in http.query_params.multi_items():
            if name not in self._queries:
                shown = name[:80]
                message = f"`{shown}` is not a parameter of this call; remove it."
                raise CallerError("unknown_field", message, param=shown)
            if name in names and not self._queries[name]:
                raise CallerError("invalid_request", f"`{name}` is sent twice; send it once.", param=name)
            names.add(name)

    def described(self) -> APIRoute:
        """The route as FastAPI describes it: with models for its body and headers, and its JSON answer."""
        parameters, returned = dict(self._signature.parameters), self._signature.return_annotation
        if self._body is not None:
            name, body = self._body
            parameters[name] = parameters[name].replace(annotation=body.model)
        if self._headers is not None:
            name, headers = self._headers
            parameters[name] = parameters[name].replace(annotation=Annotated[headers, Header()])
        handler = self._handler_of(tuple(parameters.values()), _argument_of(Json, returned) or Response)
        route = APIRoute(self.path, handler, **self._options)
        item = _argument_of(EventStream, returned)
        if item is not None:
            _describe_stream(route, item)
        return route

    def _handler_of(self, parameters: Sequence[inspect.Parameter], returned: Any) -> Callable[..., Any]:
        """For FastAPI to look at, with the handler's name and words and this signature."""

        @wraps(self._handler)
        async def handler() -> None:
            raise NotImplementedError

        handler.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=returned
        )
        return handler


def _describe_stream(route: APIRoute, item: Any) -> None:
    # FastAPI then lists the item's schema among the components.
    route.stream_item_field = create_model_field(f"StreamItem_{route.unique_id}", item, mode="serialization")
    answer = route.responses[200]
    stream = {"schema": event_schema(item.__name__, answer["content"][SSE]["example"])}
    content = answer["content"] | {SSE: answer["content"][SSE] | stream}
    route.responses = route.responses | {200: answer | {"content": content}}


class RouteCache:
    """Wraps the routes: a path that was called lately leads to its route without a look at the others.

    What fits no route, and requests with a span of their own, go FastAPI's way.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes
        self._find = lru_cache(MOST_PATHS)(self._match)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, path = None, path_of(scope) if scope["type"] == "http" else ""
        if 0 < len(path) <= LONGEST_PATH and "fastapi.telemetry" not in scope:
            match = self._find(scope["method"], path)
        if match is None:
            await self._app(scope, receive, send)
            return
        route, scope["path_params"] = match
        answer: reply.Reply = scope[reply.KEY]
        answer.route = route.path_format
        try:
            await route.app(scope, receive, send)
        except errors.ERROR_TYPES as error:
            if answer.status is not None and not answer.kept_alive:
                raise
            response = await errors.answer(Request(scope), error)
            await response(scope, receive, send)

    def _match(self, method: str, path: str) -> tuple[ServiceRoute, Mapping[str, Any]] | None:
        scope = {"type": "http", "method": method, "path": path}
        for route in self._routes:
            match, changes = route.matches(scope)
            if match is Match.FULL:
                return (route, changes["path_params"]) if isinstance(route, ServiceRoute) else None
        return None


def _argument_of(generic: type, returned: Any) -> Any:
    """X, where a handler returns `generic[X]`, alone or among others."""
    members = get_args(returned) if get_origin(returned) is Union else (returned,)
    return next((get_args(member)[0] for member in members if get_origin(member) is generic), None)
