"""Routes of OpenAI's Responses: create, read, follow, cancel and delete one, and list its input."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api.admission.headers import SyncHeaders, ascending, flag, integer, page_limit
from api.answers.responses import (
    BEFORE_ALL,
    read_turn,
    readable_response,
    replay,
    respond,
    stored_response,
    write,
)
from api.answers.sync import set_job_headers
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.openai.response_events import ResponseEvent
from api.dialects.openai.response_items import InputItemList, Item, input_items, page, to_item_list
from api.dialects.openai.response_object import (
    ResponseDeleted,
    ResponseObject,
    StoredResponse,
    job_of,
    to_deleted,
)
from api.dialects.openai.responses import INCLUDABLE, PICTURES, ResponseBody, ResponseTurn
from api.openapi import examples
from api.openapi.document import INPUT_PAGE, RETRIEVAL, describe
from api.openapi.responses import JOB_HEADERS, answer, body, refusals, with_stream
from api.server.memory_budget import reserved
from api.server.route import Json
from api.server.sse import EventStream
from shared.errors import CallerError
from shared.request import Image

router = APIRouter(prefix="/v1/responses", tags=["openai"], responses=refusals("OpenAIError", 503))
ResponseCall = Annotated[ResponseTurn, Depends(read_turn)]
RESPONSE = answer("The response.", "response", headers=JOB_HEADERS)
RESPONSE_STREAMED = with_stream(RESPONSE, examples.RESPONSE_STREAM, ResponseEvent)


@router.post(
    "",
    summary="Ask for a response: whole, as a stream, or in the background.",
    response_model=ResponseObject,
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 504)
    | {200: RESPONSE_STREAMED},
    openapi_extra=body(ResponseBody, examples.RESPONSE),
)
async def create_response(
    http: Request, headers: SyncHeaders, turn: ResponseCall
) -> Json[ResponseObject] | EventStream[ResponseEvent]:
    return await respond(http, headers, turn)


@router.post("/compact", include_in_schema=False)
@router.post("/input_tokens", include_in_schema=False)
async def refuse_call(http: Request) -> Response:
    """OpenAI's calls whose path would be taken for a response's id. Raises CallerError `not_found`."""
    message = f"POST {http.url.path} is not offered here; /openapi.json lists all paths."
    raise CallerError("not_found", message)


@router.get(
    "/{id}",
    summary="One response; with ?stream=true its events, from any number on.",
    response_model=ResponseObject,
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE_STREAMED},
    openapi_extra=describe(*RETRIEVAL),
)
async def get_response(http: Request, id: str) -> Json[ResponseObject] | EventStream[ResponseEvent]:
    query = http.query_params
    _include(http)
    streams = flag(query, "stream")
    flag(query, "include_obfuscation")
    if "starting_after" in query and not streams:
        raise CallerError("invalid_request", "starting_after needs stream=true.", param="starting_after")
    after = BEFORE_ALL
    if "starting_after" in query:
        after = integer("starting_after", query["starting_after"], largest=2**53)
    response = await _stored(http, id)
    set_job_headers(http, response.job)
    return replay(http, response, after) if streams else await write(response)


@router.delete(
    "/{id}",
    summary="Cancel a response if need be and forget it.",
    responses=refusals("OpenAIError", 404) | {200: answer("The response is forgotten.")},
)
async def delete_response(http: Request, id: str) -> Json[ResponseDeleted]:
    jobs, caller = context_of(http).jobs, caller_of(http).id
    job = await jobs.response(caller, job_of(id))
    await jobs.purge(caller, job.id)
    return Json(to_deleted(id))


@router.post(
    "/{id}/cancel",
    summary="Cancel a response in the background; harmless twice and after its end.",
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE},
)
async def cancel_response(http: Request, id: str) -> Json[ResponseObject]:
    response = await _stored(http, id)
    if not response.fields.background:
        message = "Only a response in the background is cancelled; any other ends when its call is hung up."
        raise CallerError("invalid_request", message)
    job = await context_of(http).jobs.cancel(response.job.caller, response.job.id)
    set_job_headers(http, job)
    return await write(readable_response(http, replace(response, job=job)))


@router.get(
    "/{id}/input_items",
    summary="What a response was asked, earlier turns among it, newest first.",
    responses=refusals("OpenAIError", 400, 404, 410, 413) | {200: answer("A page of its input.")},
    openapi_extra=describe(*INPUT_PAGE),
)
async def list_input_items(http: Request, id: str) -> Json[InputItemList]:
    query = http.query_params
    limit = page_limit(http)
    included = _include(http)
    response = await _stored(http, id)
    after = query.get("after")
    items, more = page(input_items(response), limit=limit, after=after, ascending=ascending(http))
    context = context_of(http)
    most = int(context.settings.pictures.max_mb_request * 2**20) if PICTURES in included else 0
    async with reserved(context.pages, caller_of(http).id, most):
        return Json(to_item_list(items, more, await _pictures(http, items) if most else {}))


async def _pictures(http: Request, items: list[Item]) -> dict[str, str]:
    """The items' pictures as data: URIs by digest. Raises CallerError `payload_too_large`.

    One that is shown several times counts as often.
    """
    context = context_of(http)
    limit_mb = context.settings.pictures.max_mb_request
    uris: dict[str, str] = {}
    size = 0
    parts = (part for item in items for part in item.turn.parts if isinstance(part, Image))
    for part in parts:
        if part.digest is None:
            continue
        if part.digest not in uris:
            uris[part.digest] = await context.jobs.picture(part)
        size += len(uris[part.digest])
        if size > limit_mb * 2**20:
            limit = f"{limit_mb:g} MiB (SIGHTLINE_PICTURES__MAX_MB_REQUEST)"
            message = f"What this page includes is larger than {limit}; ask for fewer items."
            raise CallerError("payload_too_large", message, param="limit")
    return uris


async def _stored(http: Request, id: str) -> StoredResponse:
    return await stored_response(context_of(http), caller_of(http).id, id)


def _include(http: Request) -> list[str]:
    """What `include` names; OpenAI's clients write `include[]`. Raises CallerError for unknown names."""
    query = http.query_params
    names = query.getlist("include") + query.getlist("include[]")
    for place, name in enumerate(names):
        if name not in INCLUDABLE:
            allowed = ", ".join(INCLUDABLE)
            raise CallerError("invalid_request", f"include takes {allowed}.", param=f"include[{place}]")
    return names
