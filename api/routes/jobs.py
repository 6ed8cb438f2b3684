"""Routes of this service's own API: estimate and submit a job, read it, follow it, cancel it, delete it."""

import math
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Annotated, cast

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse

from api.admission.headers import (
    CacheHeaders,
    JobHeaders,
    SubmitHeaders,
    event_place,
    flag,
    integer,
    page_limit,
)
from api.admission.readiness import PAUSED_RETRY_S
from api.admission.submission import Idempotency, Origin, Terms
from api.answers.event_stream import follow_job, without_texts
from api.answers.sync import (
    SyncCall,
    ended_job,
    forget_after_answer,
    readable,
    set_job_headers,
    set_time_headers,
    until_ended,
    wait_as_preferred,
)
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.native.forecast import Forecast, to_forecast
from api.dialects.native.job_requests import CancelBody, JobBody, JobCall, from_cancel, from_job, from_query
from api.dialects.native.jobs import (
    CancelledJobs,
    Job,
    JobCounts,
    JobEvent,
    JobList,
    to_cancelled,
    to_counts,
    to_event,
    to_job,
    to_list,
)
from api.dialects.native.page_jobs import PageJob
from api.dialects.native.questions import RequestView, to_request_view
from api.dialects.strict_json import unsupported
from api.dialects.webhooks import Redelivery, RedeliveryBody, from_redelivery
from api.jobs.pictures import SIDES
from api.openapi import examples
from api.openapi.document import FILTERS, PAGE, PLACE, ROWS, SIDE, WAIT, describe
from api.openapi.responses import ACCEPTED, JOB_HEADERS, answer, body, file_answer, job_answer, refusals
from api.routes.page_jobs import LONGEST_WAIT_S, page_job
from api.server.errors import retry_after
from api.server.memory_budget import reserved
from api.server.reply import reply_of
from api.server.route import Json, json_body
from api.server.sse import EventStream, block, comment
from shared.errors import CallerError
from shared.job import Event, JobRequest, JobView
from shared.json_line import to_json
from shared.offload import offload_if_large
from shared.request import Image, Request
from shared.store.jobs import PAGE_BYTES
from shared.tool_calls.thoughts import SpokenTexts, syntax_in

JobIds = Annotated[list[str], json_body(from_cancel)]
SubmittedJob = Annotated[JobCall, json_body(from_job)]
JOB_ENDED = answer("The job, where `Prefer: wait` saw its end.", "job-succeeded", headers=JOB_HEADERS)
JOB = answer(
    "The job; `retry-after` where it has not ended.",
    "job-succeeded",
    "job-queued",
    headers=("retry-after", *JOB_HEADERS),
)
REDELIVERED = answer("The job; its webhook is called.", "job-succeeded", headers=JOB_HEADERS)
RedeliveryCall = Annotated[int, json_body(from_redelivery)]
PICTURE = file_answer("The picture, or a JPEG of it.", "image/*")
MOST_FORESEEN = 10**9
_NUMBER = re.compile("[0-9]{1,3}")

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=refusals("Problem", 503))


@router.post(
    "",
    status_code=202,
    summary="Submit a job.",
    responses=refusals("Problem", 400, 404, 408, 410, 413, 422, 429, 500)
    | {200: JOB_ENDED | {"model": Job}, 202: ACCEPTED},
    openapi_extra=body(JobBody, examples.JOB),
)
async def submit_job(http: HttpRequest, headers: SubmitHeaders, call: SubmittedJob) -> Json[Job | PageJob]:
    if call.paged:
        return await _submit_pages(http, headers, call)
    terms = _terms(http, call, headers, headers.idempotency(http))
    job = await SyncCall(http, terms).submit(_resolved(http, call))
    preferences = headers.preferences
    if preferences.wait_s:
        # The answer may take minutes; free the pictures' memory.
        call.request = call.request.without_bytes()
        job = await wait_as_preferred(http, job, preferences)
        if job.ended:
            set_time_headers(http, job)
            return cast(Json[Job | PageJob], await _write(_unsnipped(http, job)))
    return cast(Json[Job | PageJob], await accepted(_unsnipped(http, job)))


async def _submit_pages(http: HttpRequest, headers: SubmitHeaders, call: JobCall) -> Json[Job | PageJob]:
    if not headers.use_cache:
        raise unsupported("x-use-cache")
    call.request = _resolved(http, call)
    batches, idempotency = context_of(http).batches, headers.idempotency(http)
    async with reply_of(http).reservation as reservation:
        batch = await batches.create_pages(caller_of(http), call, idempotency, reservation)
    return Json(await page_job(http, batch), 202, {"location": f"/v1/jobs/{batch.id}", "retry-after": "1"})


def _unsnipped(http: HttpRequest, job: JobView) -> JobView:
    """A job that was just asked for: its answer is the key's own, snippets are for keys that may read."""
    return job if caller_of(http).reads else replace(job, question=None)


def _resolved(http: HttpRequest, call: JobCall) -> Request:
    """The request with its model's id. Raises CallerError `model_not_found`."""
    return call.request.for_model(context_of(http).models.recall(call.request.model).id)


def _terms(http: HttpRequest, call: JobCall, headers: CacheHeaders, idempotency: Idempotency | None) -> Terms:
    return Terms(
        caller=caller_of(http),
        idempotency=idempotency,
        use_cache=headers.use_cache,
        stored=call.stored,
        priority=call.priority,
        finish_by_ms=call.finish_by_ms,
        origin=Origin(reply_of(http).request_id),
        metadata=call.metadata,
        webhook=call.webhook,
    )


@router.get(
    "",
    summary="List jobs, newest first; jobs of pages are among the batches.",
    responses=refusals("Problem", 400, 404) | {200: answer("A page of jobs.")},
    openapi_extra=describe(*PAGE),
)
async def list_jobs(http: HttpRequest) -> Json[JobList]:
    query = http.query_params
    limit = page_limit(http)
    filter, results = from_query(query.get, query.getlist), flag(query, "results", default=True)
    context, caller = context_of(http), caller_of(http).id
    async with reserved(context.pages, caller, PAGE_BYTES if results else 0):
        page = await context.jobs.list(
            caller, limit=limit, after=query.get("after"), filters=filter, results=results
        )
        return await offload_if_large(lambda: Json(to_list(page)), page.bytes)


@router.get(
    "/counts",
    summary="How many of your newest jobs have each status; the other filters are the list's.",
    responses=refusals("Problem", 400) | {200: answer("The counts.")},
    openapi_extra=describe(*FILTERS),
)
async def count_jobs(http: HttpRequest) -> Json[JobCounts]:
    query = http.query_params
    wanted = from_query(query.get, query.getlist)
    counts, complete = await context_of(http).jobs.status_counts(caller_of(http).id, wanted)
    return Json(to_counts(counts, complete=complete))


@router.get(
    "/{id}",
    summary="One job; with ?wait=N as soon as it ends, or after N seconds.",
    responses=refusals("Problem", 400, 404, 410) | {200: JOB},
    openapi_extra=describe(WAIT),
)
async def get_job(http: HttpRequest, id: str) -> Json[Job]:
    wait_s = integer("wait", http.query_params.get("wait", "0"), largest=LONGEST_WAIT_S)
    job = await context_of(http).jobs.get(caller_of(http).id, id)
    if wait_s and not job.ended:
        job = await until_ended(http, job, wait_s)
    set_job_headers(http, job)
    return await _write(job, headers={} if job.ended else {"retry-after": _poll_after(job)})


@router.get(
    "/{id}/request",
    summary="What a job asked, as it was submitted; `pictures` are those that are kept.",
    responses=refusals("Problem", 404, 410) | {200: answer("What it asked.", "job-request")},
)
async def get_job_request(http: HttpRequest, id: str) -> Json[RequestView]:
    context = context_of(http)
    stored = await context.jobs.stored_request(caller_of(http).id, id)
    size = len(stored.request or "")
    request = await offload_if_large(lambda: _request(stored), size)
    async with reply_of(http).reservation as reservation:
        pictures = await context.pictures.facts(request.images, reservation)
    return await offload_if_large(lambda: Json(to_request_view(id, stored, request, pictures)), size)


@router.get(
    "/{id}/pictures/{n}",
    summary="A picture of a job as it was sent, or with ?side=N a thumbnail of it.",
    response_class=Response,
    responses=refusals("Problem", 400, 404, 410) | {200: PICTURE},
    openapi_extra=describe(SIDE),
)
async def get_job_picture(http: HttpRequest, id: str, n: str) -> Response:
    context, caller = context_of(http), caller_of(http).id
    side = integer("side", http.query_params.get("side", "0"), largest=SIDES[-1])
    stored = await context.jobs.stored_request(caller, id)
    image = await offload_if_large(lambda: _picture(_request(stored), n), len(stored.request or ""))
    async with reply_of(http).reservation as reservation:
        picture = await context.pictures.only(image, reservation)
    if side:
        data = await context.pictures.thumbnail(caller, id, image, picture, side)
        return Response(data, media_type="image/jpeg")
    headers, kind = {"content-length": str(picture.size)}, picture.info.media_type
    if http.method == "HEAD":
        return Response(headers=headers, media_type=kind)
    return StreamingResponse(await context.pictures.whole(image), headers=headers, media_type=kind)


@router.post(
    "/cancel",
    summary="Cancel up to 100 jobs; harmless twice and after their ends.",
    responses=refusals("Problem", 400) | {200: answer("What became of each.", "jobs-cancelled")},
    openapi_extra=body(CancelBody, examples.CANCEL),
)
async def cancel_jobs(http: HttpRequest, ids: JobIds) -> Json[CancelledJobs]:
    outcomes = await context_of(http).jobs.cancel_all(caller_of(http).id, ids)
    forget_after_answer(http, *(job for job in outcomes.values() if isinstance(job, JobView)))
    return Json(to_cancelled(outcomes))


@router.post(
    "/{id}/cancel",
    summary="Cancel a job; harmless twice and after its end.",
    responses=refusals("Problem", 404) | {200: JOB},
)
async def cancel_job(http: HttpRequest, id: str) -> Json[Job]:
    job = await context_of(http).jobs.cancel(caller_of(http).id, id)
    set_job_headers(http, job)
    return await _write(readable(http, job))


@router.post(
    "/{id}/retry",
    status_code=202,
    summary="Ask again what an ended job asked: a new job, named after the old one in `retry_of`.",
    responses=refusals("Problem", 400, 404, 409, 410, 422, 429, 500) | {202: ACCEPTED},
)
async def retry_job(http: HttpRequest, headers: JobHeaders, id: str) -> Json[Job]:
    context = context_of(http)
    terms = Terms(
        caller=caller_of(http),
        idempotency=headers.idempotency(http),
        use_cache=headers.use_cache,
        origin=Origin(reply_of(http).request_id, retry_of=id),
    )
    # A repeat under an Idempotency-Key gets the same answer, whatever became of the old job.
    repeated = await context.submission.repeated_job(terms)
    if repeated is not None:
        set_job_headers(http, repeated)
        return await accepted(readable(http, repeated))
    stored = await context.jobs.ended_request(caller_of(http).id, id)
    request = _request(stored)
    terms = replace(terms, stored=stored.stored, priority=stored.priority, metadata=stored.metadata)
    # A caller whose key may not read can still retry a job, but is not shown an answer found at once.
    return await accepted(readable(http, await SyncCall(http, terms).submit(request)))


@router.post(
    "/redeliver",
    status_code=202,
    summary="Send the ends again whose last delivery failed at that time or later.",
    responses=refusals("Problem", 400) | {202: answer("How many are sent again.")},
    openapi_extra=body(RedeliveryBody, examples.REDELIVERY),
)
async def redeliver_failed(http: HttpRequest, since_ms: RedeliveryCall) -> Json[Redelivery]:
    count = await context_of(http).jobs.redeliver_failed(caller_of(http).id, since_ms)
    return Json({"object": "redelivery", "count": count}, 202)


@router.post(
    "/{id}/webhook/redeliver",
    status_code=202,
    summary="Send a job's end to its webhook again.",
    responses=refusals("Problem", 400, 404, 409, 410) | {202: REDELIVERED},
)
async def redeliver_job(http: HttpRequest, id: str) -> Json[Job]:
    job = cast(JobView, await context_of(http).jobs.redeliver(caller_of(http).id, id))
    set_job_headers(http, job)
    return await _write(readable(http, job), 202)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Cancel a job if need be and forget it.",
    responses=refusals("Problem", 404) | {204: answer("The job is forgotten.")},
)
async def delete_job(http: HttpRequest, id: str) -> Response:
    await context_of(http).jobs.purge(caller_of(http).id, id)
    return Response(status_code=204)


@router.get(
    "/{id}/events",
    summary="Follow a job by server-sent events, from any event on.",
    status_code=200,
    response_class=EventStream,
    response_model=None,
    responses=refusals("Problem", 400, 404, 410)
    | {
        200: job_answer("The events, up to the last.", stream=examples.JOB_STREAM, item=JobEvent),
        204: answer("Who sent `Last-Event-ID` has had the last event.", headers=JOB_HEADERS),
    },
    openapi_extra=describe(*PLACE),
)
async def job_events(http: HttpRequest, id: str) -> EventStream[JobEvent] | Response:
    after = event_place(http)
    job = without_texts(await context_of(http).jobs.get(caller_of(http).id, id))
    set_job_headers(http, job)
    if job.ended and after == job.last_event and "last-event-id" in http.headers:
        # A browser's EventSource reconnects after the last event for ever, unless it gets 204.
        return Response(status_code=204)
    return EventStream(_blocks(http, job, after))


async def accepted(job: JobView) -> Json[Job]:
    """202: the job is kept; the headers say where to look for it and when."""
    headers = {"location": f"/v1/jobs/{job.id}", "retry-after": _poll_after(job)}
    return await _write(job, 202, headers)


async def _write(job: JobView, status: int = 200, headers: Mapping[str, str] | None = None) -> Json[Job]:
    return await offload_if_large(lambda: Json(to_job(job), status, headers), job.bytes)


def _request(stored: JobRequest) -> Request:
    """The request, with the field names of the first caller's body, which its own JSON does not hold."""
    request = Request.model_validate_json(stored.request or "").model_copy(update={"named": stored.paths})
    parts = (
        part.model_copy(update={"param": stored.paths.get(at, "")})
        for at, part in zip(request.places, request.media, strict=True)
    )
    return request.with_media(tuple(parts))


def _picture(request: Request, place: str) -> Image:
    """Raises CallerError `file_not_found`."""
    images = request.images[int(place) :][:1] if _NUMBER.fullmatch(place) else ()
    for image in images:
        if image.digest is not None:
            return image
    raise CallerError("file_not_found", "The job has no such picture, or it is not fetched yet.")


async def _blocks(http: HttpRequest, job: JobView, after: int) -> AsyncGenerator[bytes]:
    spoken = None if after else SpokenTexts()
    async with aclosing(follow_job(http, job, after)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.last:
                yield await _last_block(http, event, job)
            elif event.type == "text":
                spoken = spoken or await _spoken_before(http, job, event)
                yield _block(replace(event, data=spoken.read(event.data)), job)
            else:
                yield _block(event, job)


async def _spoken_before(http: HttpRequest, job: JobView, until: Event) -> SpokenTexts:
    """For a reader who goes on: whether the model still thinks is known from the beginning only."""
    spoken = SpokenTexts()
    async with aclosing(follow_job(http, job)) as events:
        async for event in events:
            if isinstance(event, str) or event.id >= until.id or not syntax_in(until.data):
                break
            if event.type == "text":
                spoken.read(event.data)
    return spoken


async def _last_block(http: HttpRequest, event: Event, job: JobView) -> bytes:
    """Keep no answer in the stream's frame, whose reader may take nothing."""
    ended = await ended_job(http, job)
    return await offload_if_large(partial(_block, event, ended), ended.bytes)


def _block(event: Event, job: JobView) -> bytes:
    name, number, data = to_event(event, job)
    return block(to_json(data), event=name, id=number)


def _poll_after(job: JobView) -> str:
    if job.waiting_reason == "paused":
        return retry_after(PAUSED_RETRY_S)
    if job.estimate is None or job.ended:
        return retry_after(1)
    return retry_after(math.ceil(job.estimate.p50 + job.estimate.service_s))


estimate_router = APIRouter(tags=["jobs"], responses=refusals("Problem", 503))


@estimate_router.post(
    "/v1/estimate",
    summary="Say what would become of a job: from the cache, or how long it waits, runs and what it costs.",
    responses=refusals("Problem", 400, 404, 408, 410, 413, 500) | {200: answer("What would become of it.")},
    openapi_extra=body(JobBody, examples.JOB) | describe(ROWS),
)
async def foretell_job(http: HttpRequest, headers: CacheHeaders, call: SubmittedJob) -> Json[Forecast]:
    if call.paged:
        raise unsupported("document")
    request, terms = _resolved(http, call), _terms(http, call, headers, None)
    rows = integer("rows", http.query_params.get("rows", "1"), largest=MOST_FORESEEN, least=1)
    async with reply_of(http).reservation as reservation:
        forecast = await context_of(http).forecaster.forecast(request, terms, reservation, rows=rows)
        return Json(to_forecast(forecast))
