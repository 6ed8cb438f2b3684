"""Routes of OpenAI's batches: a file of requests, computed when there is room, answered as a file."""

from fastapi import APIRouter, Request, Response

from api.admission.headers import page_limit, terms
from api.auth.callers import caller_of
from api.batches.line_endpoints import DOORS
from api.context import context_of
from api.dialects import strict_json
from api.dialects.fields import to_page
from api.dialects.openai.batches import BatchBody, from_batch, to_batch
from api.openapi.document import BATCH_KEY, BATCH_PAGE, describe
from api.openapi.examples import BATCH as EXAMPLE
from api.openapi.responses import BATCH, BATCH_LIST, refusals
from api.server.body import read_body, translated
from api.server.route import PlainRoute, json_answer

router = APIRouter(
    route_class=PlainRoute, prefix="/v1/batches", tags=["openai"], responses=refusals("OpenAIError", 503)
)


@router.post(
    "",
    summary="Compute a file's requests within a day.",
    responses=refusals("OpenAIError", 400, 404, 408, 413, 422, 429) | {200: BATCH},
    openapi_extra=describe(BatchBody, BATCH_KEY, example=EXAMPLE),
)
async def create_batch(request: Request) -> Response:
    context = context_of(request)
    body = await read_body(request, context.settings.api)
    caller = caller_of(request)
    asked = await translated(caller.id, body, lambda raw: from_batch(strict_json.parse(raw), tuple(DOORS)))
    made = await context.batches.create(caller, asked, terms(request, body))
    return json_answer(to_batch(made))


@router.get(
    "",
    summary="List batches, newest first.",
    responses=refusals("OpenAIError", 400, 404) | {200: BATCH_LIST},
    openapi_extra=describe(None, *BATCH_PAGE),
)
async def list_batches(request: Request) -> Response:
    query = request.query_params
    limit = page_limit(request)
    rows, has_more = await context_of(request).batches.list(
        caller_of(request).id, limit=limit, after=query.get("after")
    )
    return json_answer(to_page([to_batch(row) for row in rows], has_more=has_more))


@router.get("/{id}", summary="One batch.", responses=refusals("OpenAIError", 404) | {200: BATCH})
async def get_batch(request: Request, id: str) -> Response:
    return json_answer(to_batch(await context_of(request).batches.get(caller_of(request).id, id)))


@router.post(
    "/{id}/cancel",
    summary="Take no more lines of a batch; what was done is kept. Harmless twice and after its end.",
    responses=refusals("OpenAIError", 404) | {200: BATCH},
)
async def cancel_batch(request: Request, id: str) -> Response:
    return json_answer(to_batch(await context_of(request).batches.cancel(caller_of(request).id, id)))
