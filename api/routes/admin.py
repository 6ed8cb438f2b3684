"""Route that lists what operators did."""

import re

from fastapi import APIRouter, Request, Response

from api.admission.preferences import page_limit
from api.context import context_of
from api.description.answers import DEED_LIST
from api.description.openapi import describe
from api.description.parameters import DEED_PAGE
from api.description.responses import refusals
from api.dialects.deeds import to_deed
from api.dialects.pages import to_page
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from shared.errors import CallerError

_DEED = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")

router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin",
    tags=["admin"],
    responses=refusals("OpenAIError", 503),
)


@router.get(
    "/audit",
    summary="What operators did, newest first: the last 10,000 acts.",
    responses=refusals("OpenAIError", 400) | {200: DEED_LIST},
    openapi_extra=describe(None, *DEED_PAGE),
)
async def list_deeds(request: Request) -> Response:
    query = request.query_params
    after = query.get("after")
    if after is not None and not _DEED.fullmatch(after):
        raise CallerError("invalid_request", "`after` is not the id of an act.", param="after")
    limit = page_limit(request)
    found, has_more = await context_of(request).deeds.list(after, limit)
    return json_answer(to_page([to_deed(deed) for deed in found], has_more=has_more))
