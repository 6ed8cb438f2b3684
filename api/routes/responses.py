"""Routes of OpenAI's Responses: create, read, follow, cancel and delete one, and list its input."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from api.admission.headers import flag, integer, page_limit
from api.answers.responses import NOTHING_SEEN, found, replay, respond, written
from api.answers.sync import note, shown
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.openai.response_items import Item, numbered, page, to_item_list
from api.dialects.openai.response_object import Kept, job_of, to_deleted
from api.dialects.openai.responses import INCLUDABLE, PICTURES, SOUNDS, ResponseBody
from api.openapi.document import INPUT_PAGE, RETRIEVAL, SYNCHRONOUS, describe
from api.openapi.examples import RESPONSE as EXAMPLE
from api.openapi.responses import RESPONSE, RESPONSE_GONE, RESPONSE_INPUT, RESPONSE_STREAMED, refusals
from api.server.route import PlainRoute, json_answer
from shared.errors import CallerError
from shared.request import Image, Sound

router = APIRouter(
    route_class=PlainRoute, prefix="/v1/responses", tags=["openai"], responses=refusals("OpenAIError", 503)
)
MEDIA: tuple[tuple[str, type[Image | Sound]], ...] = ((PICTURES, Image), (SOUNDS, Sound))
"""The media of an input that is shown only on demand, by its name in `include[]`."""


@router.post(
    "",
    summary="Ask for a response: whole, as a stream, or in the background.",
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 504)
    | {200: RESPONSE_STREAMED},
    openapi_extra=describe(ResponseBody, *SYNCHRONOUS, example=EXAMPLE),
)
async def create_response(request: Request) -> Response:
    return await respond(request)


@router.post("/compact", include_in_schema=False)
@router.post("/input_tokens", include_in_schema=False)
async def refuse_call(request: Request) -> Response:
    """OpenAI's calls whose path would be taken for a response's id. Raises CallerError `not_found`."""
    message = f"POST {request.url.path} is not offered here; /openapi.json lists all paths."
    raise CallerError("not_found", message)


@router.get(
    "/{id}",
    summary="One response; with ?stream=true its events, from any number on.",
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE_STREAMED},
    openapi_extra=describe(None, *RETRIEVAL),
)
async def get_response(request: Request, id: str) -> Response:
    query = request.query_params
    _include(request)
    streams = flag(request, "stream")
    flag(request, "include_obfuscation")
    if "starting_after" in query and not streams:
        raise CallerError("invalid_request", "starting_after needs stream=true.", param="starting_after")
    after = NOTHING_SEEN
    if "starting_after" in query:
        after = integer("starting_after", query["starting_after"], largest=2**53)
    kept = await _found(request, id)
    note(request, kept.view)
    return replay(request, kept, after) if streams else await written(kept)


@router.delete(
    "/{id}",
    summary="Cancel a response if need be and forget it.",
    responses=refusals("OpenAIError", 404) | {200: RESPONSE_GONE},
)
async def delete_response(request: Request, id: str) -> Response:
    jobs, caller = context_of(request).jobs, caller_of(request).id
    view = await jobs.response(caller, job_of(id))
    await jobs.purge(caller, view.id)
    return json_answer(to_deleted(id))


@router.post(
    "/{id}/cancel",
    summary="Cancel a response in the background; harmless twice and after its end.",
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE},
)
async def cancel_response(request: Request, id: str) -> Response:
    kept = await _found(request, id)
    if not kept.outline.background:
        message = "Only a response in the background is cancelled; any other ends when its call is hung up."
        raise CallerError("invalid_request", message)
    view = await context_of(request).jobs.cancel(kept.view.caller, kept.view.id)
    note(request, view)
    return await written(replace(kept, view=shown(request, view)))


@router.get(
    "/{id}/input_items",
    summary="What a response was asked, earlier turns among it, newest first.",
    responses=refusals("OpenAIError", 400, 404, 410, 413) | {200: RESPONSE_INPUT},
    openapi_extra=describe(None, *INPUT_PAGE),
)
async def list_input_items(request: Request, id: str) -> Response:
    query = request.query_params
    limit = page_limit(request)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise CallerError("invalid_request", "order is asc or desc.", param="order")
    included = _include(request)
    kept = await _found(request, id)
    items, more = page(numbered(kept), limit=limit, after=query.get("after"), ascending=order == "asc")
    media = await _media(request, items, tuple(kind for name, kind in MEDIA if name in included))
    return json_answer(to_item_list(items, more, media))


async def _media(
    request: Request, items: list[Item], kinds: tuple[type[Image | Sound], ...]
) -> dict[str, str]:
    """The items' pictures and sounds, of these kinds, as data: URIs by digest.

    Raises CallerError `payload_too_large`.
    """
    context = context_of(request)
    limit_mb = context.settings.pictures.max_mb_request
    found: dict[str, str] = {}
    parts = (part for item in items for part in item.turn.parts if isinstance(part, kinds))
    for digest, part in {part.digest: part for part in parts if part.digest}.items():
        found[digest] = await context.jobs.media(part)
        if sum(map(len, found.values())) > limit_mb * 2**20:
            message = f"What this page includes is larger than {limit_mb:g} MiB; ask for fewer items."
            raise CallerError("payload_too_large", message, param="limit")
    return found


async def _found(request: Request, id: str) -> Kept:
    return await found(context_of(request), caller_of(request).id, id)


def _include(request: Request) -> list[str]:
    """What `include` names; OpenAI's clients write `include[]`. Raises CallerError for unknown names."""
    query = request.query_params
    said = query.getlist("include") + query.getlist("include[]")
    for place, name in enumerate(said):
        if name not in INCLUDABLE:
            allowed = ", ".join(INCLUDABLE)
            raise CallerError("invalid_request", f"include takes {allowed}.", param=f"include[{place}]")
    return said
