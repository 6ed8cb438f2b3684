"""Routes of OpenAI's batches: a file of requests, computed when there is room, answered as a file."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.admission.headers import BatchHeaders, page_limit
from api.auth.callers import caller_of
from api.batches.line_endpoints import LINE_ENDPOINTS
from api.context import context_of
from api.dialects.fields import to_page
from api.dialects.openai.batches import Batch, BatchBody, BatchList, BatchRequest, from_batch, to_batch
from api.openapi import examples
from api.openapi.document import BATCH_PAGE, describe
from api.openapi.responses import answer, body, refusals, text_answer
from api.server.route import Json, json_body
from shared import batch as records
from shared.errors import CallerError
from shared.estimate import estimate_batch
from shared.job import Estimate

BatchCall = Annotated[BatchRequest, json_body(lambda body: from_batch(body, tuple(LINE_ENDPOINTS)))]
BATCH = answer("The batch.")
ROWS = text_answer(
    "A row of each line that has ended; one without `error` and with status 200 succeeded.",
    "application/jsonl",
)

router = APIRouter(prefix="/v1/batches", tags=["openai"], responses=refusals("OpenAIError", 503))


@router.post(
    "",
    summary="Compute a file's requests within a day.",
    responses=refusals("OpenAIError", 400, 404, 408, 413, 422, 429) | {200: BATCH},
    openapi_extra=body(BatchBody, examples.BATCH),
)
async def create_batch(http: Request, headers: BatchHeaders, batch: BatchCall) -> Json[Batch]:
    batches = context_of(http).batches
    return Json(to_batch(await batches.create(caller_of(http), batch, headers.idempotency(http))))


@router.get(
    "",
    summary="List batches, newest first.",
    responses=refusals("OpenAIError", 400, 404) | {200: answer("A page of batches.")},
    openapi_extra=describe(*BATCH_PAGE),
)
async def list_batches(http: Request) -> Json[BatchList]:
    limit, after = page_limit(http), http.query_params.get("after")
    rows, has_more = await context_of(http).batches.list(caller_of(http).id, limit=limit, after=after)
    shown = [to_batch(row, await _estimate(http, row)) for row in rows]
    return Json({**to_page(shown, has_more=has_more)})


@router.get("/{id}", summary="One batch.", responses=refusals("OpenAIError", 404) | {200: BATCH})
async def get_batch(http: Request, id: str) -> Json[Batch]:
    batch = await context_of(http).batches.get(caller_of(http).id, id)
    return Json(to_batch(batch, await _estimate(http, batch)))


@router.get(
    "/{id}/results",
    summary="The rows of the lines that have ended, also while others are computed, as JSON lines.",
    response_class=Response,
    responses=refusals("OpenAIError", 404, 410) | {200: ROWS},
)
async def get_batch_results(http: Request, id: str) -> Response:
    rows = await context_of(http).batches.results(caller_of(http).id, id)
    kind = "application/jsonl"
    return Response(media_type=kind) if http.method == "HEAD" else StreamingResponse(rows, media_type=kind)


async def estimate_of(http: Request, batch: records.Batch, model_id: str | None) -> Estimate | None:
    """When a batch for this model ends; None where its lines wait in no line that moves."""
    context = context_of(http)
    if model_id is None:
        return None
    try:
        model = context.models.recall(model_id)
    except CallerError:
        return None
    lane = (await context.jobs.model_state(model)).lane
    closes_s = (batch.expires_ms - lane.now_ms) / 1000
    return None if lane.paused else estimate_batch(lane, batch.untaken, closes_s)


async def _estimate(http: Request, batch: records.Batch) -> Estimate | None:
    return await estimate_of(http, batch, batch.model) if batch.stage == "in_progress" else None


@router.post(
    "/{id}/cancel",
    summary="Take no more lines of a batch; what was done is kept. Harmless twice and after its end.",
    responses=refusals("OpenAIError", 404) | {200: BATCH},
)
async def cancel_batch(http: Request, id: str) -> Json[Batch]:
    return Json(to_batch(await context_of(http).batches.cancel(caller_of(http).id, id)))
