"""Route that lists what operators did."""

import re

from fastapi import APIRouter, Request, Response

from api.admission.preferences import page_limit
from api.context import context_of
from api.description.answers import ADMIN_ACTION_LIST
from api.description.openapi import describe
from api.description.parameters import ADMIN_ACTION_PAGE
from api.description.responses import refusals
from api.dialects.admin_actions import to_admin_action
from api.dialects.pages import to_page
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from shared.errors import CallerError

_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")

router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin",
    tags=["admin"],
    responses=refusals("OpenAIError", 503),
)


@router.get(
    "/audit",
    summary="What operators did, newest first: the last 10,000 acts.",
    responses=refusals("OpenAIError", 400) | {200: ADMIN_ACTION_LIST},
    openapi_extra=describe(None, *ADMIN_ACTION_PAGE),
)
async def list_admin_actions(request: Request) -> Response:
    query = request.query_params
    after = query.get("after")
    if after is not None and not _ID.fullmatch(after):
        raise CallerError("invalid_request", "`after` is not the id of an act.", param="after")
    limit = page_limit(request)
    found, has_more = await context_of(request).admin_actions.list(after, limit)
    return json_answer(to_page([to_admin_action(one) for one in found], has_more=has_more))
