"""Routes of OpenAI's files: inputs and outputs of batches, and pictures sent once and named often."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.admission.headers import page_limit
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.fields import to_page
from api.dialects.openai.files import from_purpose, to_deleted, to_file
from api.openapi.bodies import UPLOAD
from api.openapi.document import FILE_PAGE, describe
from api.openapi.responses import FILE, FILE_CONTENT, FILE_GONE, FILE_LIST, refusals
from api.server.body import too_slow
from api.server.multipart import MultipartForm, receive
from api.server.route import PlainRoute, json_answer
from shared.errors import CallerError
from shared.settings import ApiSettings

PAGE_LIMIT = 1000
ORDERS = ("desc", "asc")

router = APIRouter(
    route_class=PlainRoute, prefix="/v1/files", tags=["openai"], responses=refusals("OpenAIError", 503)
)


@router.post(
    "",
    summary="Upload a file; its bytes go to disk as they come.",
    responses=refusals("OpenAIError", 400, 408, 413) | {200: FILE},
    openapi_extra={"requestBody": UPLOAD},
)
async def create_file(request: Request) -> Response:
    context = context_of(request)
    limit_s = _patience_s(context.settings.api)

    async def read(form: MultipartForm) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await receive(request, form)
        except TimeoutError:
            raise too_slow(limit_s) from None

    return json_answer(to_file(await context.files.create(caller_of(request), read)))


@router.get(
    "",
    summary="List files, newest first.",
    responses=refusals("OpenAIError", 400, 404) | {200: FILE_LIST},
    openapi_extra=describe(None, *FILE_PAGE),
)
async def list_files(request: Request) -> Response:
    query = request.query_params
    order = query.get("order", ORDERS[0])
    if order not in ORDERS:
        raise CallerError("invalid_request", f"order is one of {', '.join(ORDERS)}.", param="order")
    limit = page_limit(request, usual=PAGE_LIMIT, largest=PAGE_LIMIT)
    rows, has_more = await context_of(request).files.list(
        caller_of(request).id,
        limit=limit,
        after=query.get("after"),
        oldest_first=order == "asc",
        purpose=from_purpose(query.get("purpose")),
    )
    return json_answer(to_page([to_file(row) for row in rows], has_more=has_more))


@router.get("/{id}", summary="One file.", responses=refusals("OpenAIError", 404) | {200: FILE})
async def get_file(request: Request, id: str) -> Response:
    return json_answer(to_file(await context_of(request).files.get(caller_of(request).id, id)))


@router.get(
    "/{id}/content",
    summary="A file's bytes.",
    response_class=Response,
    responses=refusals("OpenAIError", 404) | {200: FILE_CONTENT},
)
async def file_content(request: Request, id: str) -> Response:
    file, pieces = await context_of(request).files.content(caller_of(request).id, id)
    headers = {"content-length": str(file.size), "x-content-type-options": "nosniff"}
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


@router.delete(
    "/{id}",
    summary="Delete a file; a batch that reads it goes on.",
    responses=refusals("OpenAIError", 404) | {200: FILE_GONE},
)
async def delete_file(request: Request, id: str) -> Response:
    await context_of(request).files.delete(caller_of(request).id, id)
    return json_answer(to_deleted(id))


def _patience_s(limits: ApiSettings) -> float:
    """The time for an upload: a file may come as slowly as the largest body may."""
    return limits.upload_limit_s * max(1.0, limits.file_limit_mb / limits.body_limit_mb)
