"""Routes whose handlers read everything by hand."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class PlainRoute(APIRoute):
    """Hands the request and the path's parameters, as text, to the handler, which answers with a response.

    FastAPI would look for dependencies and validate parameters on every call, a tenth of a cache hit's time;
    here are none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, **request.path_params)
            return response

        return handle
