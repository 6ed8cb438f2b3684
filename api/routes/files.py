"""Routes of OpenAI's files: inputs and outputs of batches, and pictures sent once and named often."""

from typing import get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.admission.headers import ascending, one_of, page_limit
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.fields import to_page
from api.dialects.openai.files import (
    ANCHOR,
    LEAST_LIFE_S,
    LONGEST_LIFE_S,
    SECONDS,
    UPLOADED,
    FileDeleted,
    FileList,
    FileObject,
    to_deleted,
    to_file,
)
from api.dialects.unknown_fields import header
from api.openapi.document import FILE_PAGE, describe
from api.openapi.responses import answer, file_answer, refusals
from api.server.body import in_time
from api.server.multipart import MultipartForm, receive
from api.server.reply import IGNORED, reply_of
from api.server.route import Json
from shared.file import Purpose
from shared.request import Document

FILE = answer("The file.")
OCTETS = "application/octet-stream"
FILE_CONTENT = file_answer("The bytes, as they were uploaded or written.", OCTETS)
FIRST_PAGE = file_answer("The page.", "image/png", headers=("x-pages",))
UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(UPLOADED)},
                    ANCHOR: {"type": "string", "const": "created_at"},
                    SECONDS: {
                        "type": "integer",
                        "minimum": LEAST_LIFE_S,
                        "maximum": LONGEST_LIFE_S,
                    },
                },
            }
        }
    },
}
"""The body of an upload, the only form."""
PAGE_LIMIT = 1000

router = APIRouter(prefix="/v1/files", tags=["openai"], responses=refusals("OpenAIError", 503))


@router.post(
    "",
    summary="Upload a file; its bytes go to disk as they come.",
    responses=refusals("OpenAIError", 400, 408, 413) | {200: FILE},
    openapi_extra={"requestBody": UPLOAD},
)
async def create_file(http: Request) -> Json[FileObject]:
    context = context_of(http)
    limits = context.settings.api
    # A file may come as slowly as the largest body may.
    limit_s = limits.upload_limit_s * max(1.0, limits.file_limit_mb / limits.body_mb)

    async def read(form: MultipartForm) -> None:
        await in_time(limit_s, receive(http, form))
        if unknown := sorted(form.fields.keys() - {"purpose", ANCHOR, SECONDS}):
            reply_of(http).headers[IGNORED] = header(unknown)

    return Json(to_file(await context.files.create(caller_of(http), read)))


@router.get(
    "",
    summary="List files, newest first.",
    responses=refusals("OpenAIError", 400, 404) | {200: answer("A page of files.")},
    openapi_extra=describe(*FILE_PAGE),
)
async def list_files(http: Request) -> Json[FileList]:
    query = http.query_params
    limit = page_limit(http, default=PAGE_LIMIT, largest=PAGE_LIMIT)
    rows, has_more = await context_of(http).files.list(
        caller_of(http).id,
        limit=limit,
        after=query.get("after"),
        oldest_first=ascending(http),
        purpose=one_of(http, "purpose", get_args(Purpose)),
    )
    return Json(to_page([to_file(row) for row in rows], has_more=has_more))


@router.get("/{id}", summary="One file.", responses=refusals("OpenAIError", 404) | {200: FILE})
async def get_file(http: Request, id: str) -> Json[FileObject]:
    return Json(to_file(await context_of(http).files.get(caller_of(http).id, id)))


@router.get(
    "/{id}/content",
    summary="A file's bytes.",
    response_class=Response,
    responses=refusals("OpenAIError", 404) | {200: FILE_CONTENT},
)
async def file_content(http: Request, id: str) -> Response:
    files, caller = context_of(http).files, caller_of(http).id
    file = await files.get(caller, id)
    headers = {"content-length": str(file.size), "x-content-type-options": "nosniff"}
    if http.method == "HEAD":
        return Response(headers=headers, media_type=OCTETS)
    return StreamingResponse(await files.content(file), headers=headers, media_type=OCTETS)


@router.get(
    "/{id}/page",
    summary="The first page of a document, and how many it has: what a question about it would be shown.",
    response_class=Response,
    responses=refusals("OpenAIError", 400, 404, 413) | {200: FIRST_PAGE},
)
async def file_page(http: Request, id: str) -> Response:
    document = Document(file=id, param="id")
    numbers, pictures = await context_of(http).documents.first_page(caller_of(http).id, document)
    headers = {"x-pages": str(len(numbers)), "x-content-type-options": "nosniff"}
    return Response(pictures[0].data, media_type="image/png", headers=headers)


@router.delete(
    "/{id}",
    summary="Delete a file; a batch that reads it goes on.",
    responses=refusals("OpenAIError", 404) | {200: answer("The file is forgotten.")},
)
async def delete_file(http: Request, id: str) -> Json[FileDeleted]:
    await context_of(http).files.delete(caller_of(http).id, id)
    return Json(to_deleted(id))
