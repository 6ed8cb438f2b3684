"""Routes of this service's own API: submit a job, read it, follow it, cancel it, delete it."""

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from pydantic_core import to_json

from api.admission.headers import flag, integer, page_limit, preferences
from api.admission.headers import terms as terms_of
from api.admission.readiness import PAUSED_RETRY_S
from api.admission.submission import Terms
from api.answers.event_stream import follow, streamed
from api.answers.sync import attend, forget_behind, note, note_times, shown, submit, wait_as_preferred
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects import strict_json
from api.dialects.native import jobs
from api.dialects.native.jobs import from_query, to_forecast
from api.openapi import examples
from api.openapi.document import KEY, PAGE, PLACE, PREFER, USE_CACHE, WAIT, describe
from api.openapi.responses import (
    ACCEPTED,
    FORECAST,
    JOB,
    JOB_ENDED,
    JOB_EVENTS,
    JOB_GONE,
    JOB_LIST,
    JOB_TOLD,
    REPLAYED,
    refusals,
)
from api.server.body import read_body, translated
from api.server.errors import retry_after
from api.server.memory_budget import reserved
from api.server.reply import reply_of
from api.server.route import PlainRoute, json_answer
from api.server.sse import EventStream, block, comment
from shared.job import Event, JobView
from shared.offload import offload_if_large
from shared.request import Request
from shared.store.jobs import PAGE_BYTES, JobRequest

router = APIRouter(
    route_class=PlainRoute, prefix="/v1/jobs", tags=["jobs"], responses=refusals("Problem", 503)
)

LONG_POLL_LIMIT_S = 60


@router.post(
    "",
    status_code=202,
    summary="Submit a job.",
    responses=refusals("Problem", 400, 404, 408, 410, 413, 422, 429, 500) | {200: JOB_ENDED, 202: ACCEPTED},
    openapi_extra=describe(jobs.JobBody, PREFER, KEY, USE_CACHE, example=examples.JOB),
)
async def submit_job(http: HttpRequest) -> Response:
    context = context_of(http)
    request, terms = await read_job(http, context)
    view = await submit(http, context, request, terms)
    # The answer may take minutes; free the request's memory.
    del request
    waited = await wait_as_preferred(http, context, view)
    if waited.ended and preferences(http).wait_s:
        note_times(http, waited)
        return await _written(waited)
    return await accepted(waited)


async def read_job(http: HttpRequest, context: ProcessContext) -> tuple[Request, Terms]:
    """The request in a body, and its terms. Raises CallerError."""
    body = await read_body(http, context.settings.api)
    request, said = await translated(
        caller_of(http).id, body, lambda raw: jobs.from_job(strict_json.parse(raw))
    )
    model = context.models.recall(request.model)
    terms = replace(
        terms_of(http, body),
        metadata=said.metadata,
        priority=said.priority,
        times=said.times,
        webhook=said.webhook,
        stored=said.stored,
    )
    return request.model_copy(update={"model": model.id}), terms


@router.get(
    "",
    summary="List jobs, newest first.",
    responses=refusals("Problem", 400, 404) | {200: JOB_LIST},
    openapi_extra=describe(None, *PAGE),
)
async def list_jobs(http: HttpRequest) -> Response:
    query = http.query_params
    limit = page_limit(http)
    wanted, results = from_query(query.get, query.getlist), flag(http, "results", usual=True)
    context, caller = context_of(http), caller_of(http).id
    async with reserved(context.pages, caller, PAGE_BYTES if results else 0):
        page = await context.jobs.list(
            caller, limit=limit, after=query.get("after"), filters=wanted, results=results
        )
        return await offload_if_large(lambda: json_answer(jobs.to_list(page)), page.bytes)


@router.get(
    "/{id}",
    summary="One job; with ?wait=N as soon as it ends, or after N seconds.",
    responses=refusals("Problem", 400, 404, 410) | {200: JOB},
    openapi_extra=describe(None, WAIT),
)
async def get_job(http: HttpRequest, id: str) -> Response:
    context = context_of(http)
    wait_s = integer("wait", http.query_params.get("wait", "0"), largest=LONG_POLL_LIMIT_S)
    view = await context.jobs.get(caller_of(http).id, id)
    if wait_s and not view.ended:
        view = await attend(http, context, view, wait_s, leaves=False)
    note(http, view)
    return await _written(view, headers={} if view.ended else {"retry-after": _poll_after(view)})


@router.post(
    "/{id}/cancel",
    summary="Cancel a job; harmless twice and after its end.",
    responses=refusals("Problem", 404) | {200: JOB},
)
async def cancel_job(http: HttpRequest, id: str) -> Response:
    view = await context_of(http).jobs.cancel(caller_of(http).id, id)
    note(http, view)
    return await _written(shown(http, view))


@router.post(
    "/{id}/retry",
    status_code=202,
    summary="Ask again what an ended job asked: a new job, named after the old one in `retry_of`.",
    responses=refusals("Problem", 400, 404, 409, 410, 422, 429, 500) | {202: ACCEPTED},
    openapi_extra=describe(None, KEY, USE_CACHE),
)
async def retry_job(http: HttpRequest, id: str) -> Response:
    context = context_of(http)
    said = terms_of(http, b"")
    # A repeat under an Idempotency-Key gets the same answer, whatever became of the old job.
    earlier = await context.submission.repeated(said)
    if earlier is not None:
        note(http, earlier)
        return await accepted(shown(http, earlier))
    asked = await context.jobs.ended_request(caller_of(http).id, id)
    request = _request(asked)
    terms = replace(
        said,
        metadata=asked.metadata,
        priority=asked.priority,
        prompt=request.raw,
        retry_of=id,
        stored=asked.stored,
    )
    # A caller whose key may not read can still retry a job, but is not shown an answer found at once.
    return await accepted(shown(http, await submit(http, context, request, terms)))


@router.post(
    "/{id}/webhook/replay",
    status_code=202,
    summary="Tell a job's webhook its end again.",
    responses=refusals("Problem", 400, 404, 409, 410) | {202: REPLAYED},
)
async def replay_job(http: HttpRequest, id: str) -> Response:
    view = await context_of(http).jobs.replay(caller_of(http).id, id)
    note(http, view)
    return await _written(shown(http, view), 202)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Cancel a job if need be and forget it.",
    responses=refusals("Problem", 404) | {204: JOB_GONE},
)
async def delete_job(http: HttpRequest, id: str) -> Response:
    await context_of(http).jobs.purge(caller_of(http).id, id)
    return Response(status_code=204)


@router.get(
    "/{id}/events",
    summary="Follow a job by server-sent events, from any event on.",
    status_code=200,
    response_class=EventStream,
    responses=refusals("Problem", 400, 404, 410) | {200: JOB_EVENTS, 204: JOB_TOLD},
    openapi_extra=describe(None, *PLACE),
)
async def job_events(http: HttpRequest, id: str) -> Response:
    context = context_of(http)
    after = _after(http)
    view = streamed(await context.jobs.get(caller_of(http).id, id))
    note(http, view)
    if view.ended and after == view.last_event and "last-event-id" in http.headers:
        # A browser's EventSource reconnects after the last event for ever, unless it gets 204.
        return Response(status_code=204)
    return EventStream(_blocks(http, context, view, after), head_start_s=context.settings.api.head_start_s)


async def accepted(view: JobView) -> Response:
    """202: the job is kept; the headers say where to look for it and when."""
    headers = {"location": f"/v1/jobs/{view.id}", "retry-after": _poll_after(view)}
    return await _written(view, 202, headers)


async def _written(view: JobView, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return await offload_if_large(lambda: json_answer(jobs.to_job(view), status, headers), view.bytes)


def _request(asked: JobRequest) -> Request:
    """The request, with the field names of the first caller's body, which its own JSON does not hold."""
    request = Request.model_validate_json(asked.request or "").model_copy(update={"named": asked.paths})
    named = (
        part.model_copy(update={"param": asked.paths.get(at, "")})
        for at, part in zip(request.places, request.media, strict=True)
    )
    return request.with_media(tuple(named))


async def _blocks(
    http: HttpRequest, context: ProcessContext, view: JobView, after: int
) -> AsyncGenerator[bytes]:
    async with aclosing(follow(http, context, view, after)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.last:
                yield await _end(http, context, event, view)
            else:
                yield _block(event, view)


async def _end(http: HttpRequest, context: ProcessContext, event: Event, view: JobView) -> bytes:
    ended = await context.jobs.get(view.caller, view.id)
    forget_behind(http, ended)
    return await offload_if_large(partial(_block, event, ended), ended.bytes)


def _block(event: Event, view: JobView) -> bytes:
    name, number, data = jobs.to_event(event, view)
    return block(to_json(data), event=name, id=number)


def _after(http: HttpRequest) -> int:
    """The event to go on after; a reconnecting EventSource's header is newer than its URL's query."""
    # The standard's readers send an empty id before the first event.
    if header := http.headers.get("last-event-id"):
        return integer("Last-Event-ID", header, largest=2**53)
    return integer("after", http.query_params.get("after", "0"), largest=2**53)


def _poll_after(view: JobView) -> str:
    if view.waiting_reason == "scheduled":
        return retry_after(((view.schedule_at_ms or 0) - (view.read_ms or 0)) / 1000)
    if view.waiting_reason == "paused":
        return retry_after(PAUSED_RETRY_S)
    if view.estimate is None or view.ended:
        return retry_after(1)
    return retry_after(math.ceil(view.estimate.p50 + view.estimate.service_s))


# Route that tells what would become of a job, before it is submitted.

estimate_router = APIRouter(route_class=PlainRoute, tags=["jobs"], responses=refusals("Problem", 503))


@estimate_router.post(
    "/v1/estimate",
    summary="Say what would become of a job: from the cache, or how long it waits, runs and what it costs.",
    responses=refusals("Problem", 400, 404, 408, 410, 413, 500) | {200: FORECAST},
    openapi_extra=describe(jobs.JobBody, USE_CACHE, example=examples.JOB),
)
async def foretell_job(request: HttpRequest) -> Response:
    context, reservation = context_of(request), reply_of(request).reservation
    question, terms = await read_job(request, context)
    try:
        told = await context.foretelling.foretell(question, replace(terms, idempotency_key=None), reservation)
    finally:
        await reservation.release()
    return json_answer(to_forecast(told))
