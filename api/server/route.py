"""What a handler's signature is made of: a body in JSON, an answer in JSON, a model's id in the path.

async def chat_completions(
    http: Request, headers: SyncHeaders, chat: Annotated[Completion, json_body(from_chat)]
) -> Json[ChatCompletion]: ...
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_args

from fastapi import Depends, Request, Response
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema
from starlette.convertors import PathConvertor, register_url_convertor

from api.dialects import strict_json
from api.server.body import parse_body, read_body
from shared.errors import CallerError
from shared.json_line import to_json
from shared.models import RESERVED

T = TypeVar("T")


def json_body(read: Callable[[Any], Any], *, optional: bool = False) -> Any:
    """Return the dependency that gives what `read` makes of the JSON in the body.

    An empty body that is `optional` is an empty object.
    """

    async def body(http: Request) -> Any:
        sent = await read_body(http)
        raw = b"{}" if optional and not sent else sent
        return await parse_body(http, raw, lambda raw: read(strict_json.parse(raw)))

    return Depends(body)


class Json(Response, Generic[T]):
    """An answer in JSON, which OpenAPI describes as a T."""

    def __init__(self, answer: T, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(answer), status, headers, "application/json")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(get_args(source)[0])


class ModelId(PathConvertor):
    """`{id:model}` in a path: a model's id, slashes included, up to a word that model paths reserve."""

    regex = rf"(?:(?!{RESERVED.pattern}).)+"


register_url_convertor("model", ModelId())


async def known_query(http: Request) -> None:
    """Refuse query parameters that the route does not describe, and those that come twice and are no list.

    Otherwise a list would be unfiltered, or filtered by one value of two. Raises CallerError.
    """
    described = (http.scope["route"].openapi_extra or {}).get("parameters", ())
    lists = {p["name"]: p["schema"].get("type") == "array" for p in described if p["in"] == "query"}
    lists |= {name.removesuffix("[]"): is_list for name, is_list in lists.items()}
    names = set[str]()
    for name, _ in http.query_params.multi_items() if lists else ():
        if name not in lists:
            shown = name[:80]
            message = f"`{shown}` is not a parameter of this call; remove it."
            raise CallerError("unknown_field", message, param=shown)
        if name in names and not lists[name]:
            raise CallerError("invalid_request", f"`{name}` is sent twice; send it once.", param=name)
        names.add(name)
