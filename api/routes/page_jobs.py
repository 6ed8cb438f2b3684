"""Routes of jobs of pages: read, followed, cancelled, their rows. Their ids are those of batches."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import cast

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from api.admission.headers import event_place, integer, one_of
from api.answers.sync import unless_disconnected
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.native.page_jobs import PageEvent, PageJob, model_of, status_of, to_page_job
from api.jobs.live import POLL_S, Marks
from api.openapi import examples
from api.openapi.document import PAGE_ROWS, PLACE, WAIT, describe
from api.openapi.responses import answer, job_answer, refusals, text_answer
from api.routes.batches import estimate_of
from api.server.route import Json
from api.server.sse import EventStream, block, comment
from shared.batch import ENDED, Batch
from shared.errors import CallerError
from shared.estimate import waiting_reason
from shared.json_line import to_json

JOB = answer("The job of pages; `retry-after` where it has not ended.", headers=("retry-after",))
ROWS = text_answer("A row of each page that has ended, in order.", "application/jsonl", "text/plain")
LONGEST_WAIT_S = 60
FORMATS = ("jsonl", "text")

router = APIRouter(prefix="/v1/jobs/batch_{id}", tags=["jobs"], responses=refusals("Problem", 503))


@router.get(
    "",
    summary="One job of pages; with ?wait=N as soon as it ends, or after N seconds.",
    responses=refusals("Problem", 400, 404) | {200: JOB},
    openapi_extra=describe(WAIT),
)
async def get_page_job(http: HttpRequest, id: str) -> Json[PageJob]:
    wait_s = integer("wait", http.query_params.get("wait", "0"), largest=LONGEST_WAIT_S)
    batch = await unless_disconnected(http, _until_ended(http, id, time.monotonic() + wait_s))
    headers = {} if batch.stage in ENDED else {"retry-after": "1"}
    return Json(await page_job(http, batch), 200, headers)


async def _until_ended(http: HttpRequest, id: str, until: float) -> Batch:
    batch = await _batch(http, id)
    while batch.stage not in ENDED and (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(POLL_S, left_s))
        batch = await (_shared_batch if left_s > POLL_S else _batch)(http, id)
    return batch


@router.post(
    "/cancel",
    summary="Cancel a job of pages; answers that are there are kept. Harmless twice and after its end.",
    responses=refusals("Problem", 404) | {200: JOB},
)
async def cancel_page_job(http: HttpRequest, id: str) -> Json[PageJob]:
    batches = context_of(http).batches
    await _batch(http, id)
    return Json(await page_job(http, await batches.cancel(caller_of(http).id, f"batch_{id}")))


@router.get(
    "/pages",
    summary="The pages that have ended, in order, as JSON lines; with ?format=text their answers alone.",
    response_class=Response,
    responses=refusals("Problem", 400, 404, 410) | {200: ROWS},
    openapi_extra=describe(PAGE_ROWS),
)
async def get_pages(http: HttpRequest, id: str) -> Response:
    format = one_of(http, "format", FORMATS)
    _, rows = await context_of(http).batches.page_rows(await _batch(http, id), set())
    if format == "text":
        texts = [row.get("text", "") for _, row in rows]
        return Response("\n\n".join(texts), media_type="text/plain; charset=utf-8")
    lines = b"".join(to_json(row) + b"\n" for _, row in rows)
    return Response(lines, media_type="application/jsonl")


@router.get(
    "/events",
    summary="Follow a job of pages by server-sent events: each page in order as soon as it is done.",
    status_code=200,
    response_class=EventStream,
    response_model=None,
    responses=refusals("Problem", 400, 404, 410)
    | {
        200: job_answer(
            "A `page` event each, up to the job's end.", stream=examples.PAGE_STREAM, item=PageEvent
        ),
        204: answer("Who sent `Last-Event-ID` has had the last event."),
    },
    openapi_extra=describe(*PLACE),
)
async def page_job_events(http: HttpRequest, id: str) -> EventStream[PageEvent] | Response:
    after, batch = event_place(http), await _batch(http, id)
    if batch.stage in ENDED and after > (batch.total or 0) and "last-event-id" in http.headers:
        # A browser's EventSource reconnects after the last event for ever, unless it gets 204.
        return Response(status_code=204)
    return EventStream(_blocks(http, id, after))


@router.post(
    "/webhook/redeliver",
    status_code=202,
    summary="Send the end of a job of pages to its webhook again.",
    responses=refusals("Problem", 400, 404, 409) | {202: JOB},
)
async def redeliver_page_job(http: HttpRequest, id: str) -> Json[PageJob]:
    batch = await _batch(http, id)
    await context_of(http).jobs.redeliver(batch.caller, batch.id)
    return Json(await page_job(http, batch), 202)


@router.delete("", include_in_schema=False)
@router.get("/request", include_in_schema=False)
@router.get("/pictures/{n}", include_in_schema=False)
@router.post("/retry", include_in_schema=False)
async def refuse(http: HttpRequest, id: str, n: str = "") -> None:  # noqa: ARG001 - a part of one path
    """Else it would be looked for among the ordinary jobs, and said to be gone while it runs."""
    await _batch(http, id)
    advice = "Cancel it, or delete its output_file_id (GET /v1/batches/{id})."
    raise CallerError("invalid_request", f"A job of pages does not offer this call. {advice}")


async def _blocks(http: HttpRequest, id: str, sent: int) -> AsyncGenerator[bytes]:
    """Events are numbered as the pages that are asked about; the last is the job's."""
    batches, read = context_of(http).batches, set[str]()
    while True:
        batch, rows = await batches.page_rows(await _shared_batch(http, id), read, after=sent)
        for sent, row in rows:
            yield block(to_json({"row": row}), event="page", id=sent)
        if batch.stage in ENDED:
            data = to_json({"job": await page_job(http, batch)})
            yield block(data, event=status_of(batch), id=max(sent, batch.total or 0) + 1)
            return
        yield comment(f"{status_of(batch)}: {await _reason(http, batch)}, {batch.page_count} pages")
        await asyncio.sleep(POLL_S)


async def _reason(http: HttpRequest, batch: Batch) -> str:
    """Say why pages wait that no worker answers now."""
    context = context_of(http)
    try:
        model = context.models.recall(model_of(batch))
    except CallerError:
        return "model removed"
    lane = (await context.jobs.model_state(model)).lane
    return waiting_reason(lane, placed=True, state=None).replace("_", " ")


async def page_job(http: HttpRequest, batch: Batch) -> PageJob:
    waits = batch.stage in ("validating", "in_progress")
    estimate = await estimate_of(http, batch, model_of(batch)) if waits else None
    hook = await context_of(http).batches.hook(batch)
    return to_page_job(batch, estimate, hook, reads=caller_of(http).reads)


async def _shared_batch(http: HttpRequest, id: str) -> Batch:
    """As `_batch`, at most a second old: its question may be long, and many may follow it."""
    context, caller = context_of(http), caller_of(http).id

    async def look() -> Marks:
        return {id: await _batch(http, id)}

    return cast(Batch, (await context.polls.marks(f"pages {id} of {caller}", look))[id])


async def _batch(http: HttpRequest, id: str) -> Batch:
    return await context_of(http).batches.get_pages(caller_of(http).id, f"batch_{id}")
