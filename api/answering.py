"""A call whose answer is the result: submit, wait for the end, or say why there is none."""

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.context import ProcessContext
from api.edge import disconnected
from api.problems import from_job
from api.reply import reply_of
from api.submission import Terms
from shared.errors import InternalError, ServiceError, Unavailable
from shared.job import JobView
from shared.request import Request as Question
from shared.result import Result


async def submit(request: Request, context: ProcessContext, question: Question, terms: Terms) -> JobView:
    """Admit a question and note its job on the answer, whatever the answer becomes."""
    view = await context.submission.submit(question, terms)
    note(request, view)
    return view


def note(request: Request, view: JobView) -> None:
    """Name the job in the headers of whatever is answered, with what is known of it by now."""
    headers = reply_of(request).headers
    headers["x-job-id"] = view.id
    if view.cache is not None:
        headers["x-cache"] = view.cache


def note_times(request: Request, view: JobView) -> None:
    """Say how long a job that succeeded was computed, and how long it was not.

    A claimed run may still wait for a row of its worker's engine: all that is not computing is queueing.
    """
    if view.result is not None and view.ended_ms is not None:
        queue_s = (view.ended_ms - view.created_ms) / 1000 - view.result.compute_s
        headers = reply_of(request).headers
        headers["x-compute-time"] = f"{view.result.compute_s:.3f}"
        headers["x-queue-time"] = f"{max(0.0, queue_s):.3f}"


async def answer(request: Request, context: ProcessContext, view: JobView, terms: Terms) -> JobView:
    """The job as it succeeded.

    Raises the job's own error, Unavailable `wait_exceeded` (the job goes on), ClientDisconnect.
    """
    if not view.ended:
        view = await attend(request, context, view, context.settings.api.sync_limit_s, leaves=may_leave(terms))
    note(request, view)
    if not view.ended:
        limit_s = context.settings.api.sync_limit_s
        raise Unavailable("wait_exceeded", f"No answer within {limit_s:g} s; /v1/jobs/{view.id} goes on.")
    result_of(view)
    note_times(request, view)
    return view


def may_leave(terms: Terms) -> bool:
    """A caller with an Idempotency-Key means to come back for the answer."""
    return terms.idempotency_key is None


def result_of(view: JobView) -> Result:
    """What an ended job computed. Raises the error it ended with."""
    if view.result is not None:
        return view.result
    if view.error is not None:
        raise from_job(view.error)
    if view.status == "cancelled":
        raise ServiceError("job_cancelled", "The job was cancelled before it ended.")
    raise InternalError


async def attend(
    request: Request, context: ProcessContext, view: JobView, limit_s: float, *, leaves: bool
) -> JobView:
    """The newest view: at the job's end, or after `limit_s`.

    Raises ClientDisconnect where the caller hangs up first; with `leaves` the job is then left too.
    """
    waiting = asyncio.ensure_future(context.waiting.until_ended(view, limit_s))
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if leaves:
            context.leaving.left(view)
        raise ClientDisconnect
    finally:
        waiting.cancel()
        gone.cancel()
        await asyncio.gather(waiting, gone, return_exceptions=True)
