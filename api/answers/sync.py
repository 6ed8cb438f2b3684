"""Calls whose answer is the result: submit the job, wait for its end, or say why there is no result."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from api.admission.headers import preferences
from api.admission.readiness import model_failed
from api.admission.submission import Terms
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.jobs.waiting import Over, ended
from api.server.errors import from_job
from api.server.middleware import disconnected
from api.server.reply import reply_of
from shared.errors import CallerError, InternalError, ServiceError, Unavailable
from shared.job import JobView
from shared.request import Request
from shared.result import Result

T = TypeVar("T")


async def submit(http: HttpRequest, context: ProcessContext, request: Request, terms: Terms) -> JobView:
    """Admit a request and name its job in the answer's headers, whatever the answer becomes."""
    reservation = reply_of(http).reservation
    try:
        view = await context.submission.submit(request, terms, reservation)
    finally:
        await reservation.release()
    note(http, view)
    return view


def note(http: HttpRequest, view: JobView) -> None:
    """Name the job in the answer's headers, with what is known of it by now.

    A job that has ended and is not to be stored is forgotten after that answer.
    """
    answer = reply_of(http)
    answer.headers["x-job-id"] = view.id
    if view.cache is not None:
        answer.headers["x-cache"] = view.cache
    forget_behind(http, view)


def forget_behind(http: HttpRequest, view: JobView) -> None:
    """Forget a job that is not to be stored, once the answer that tells its end was sent."""
    if view.ended and not view.stored:
        reply_of(http).afterwards = partial(context_of(http).jobs.forget, replace(view, result=None))


def shown(http: HttpRequest, view: JobView) -> JobView:
    """An earlier job as its caller may see it: without its result where the key lacks the scope `read`."""
    return view if caller_of(http).reads else replace(view, result=None)


async def wait_as_preferred(http: HttpRequest, context: ProcessContext, view: JobView) -> JobView:
    """The newest view, once the job ended or the caller's `Prefer: wait` is over.

    Raises ClientDisconnect where the caller hangs up first; the job goes on.
    """
    wait_s = preferences(http).wait_s
    if wait_s:
        limit_s = min(wait_s, context.settings.api.sync_limit_s)
        view = await attend(http, context, view, limit_s, leaves=False)
        note(http, view)
    return view


def note_times(http: HttpRequest, view: JobView) -> None:
    """Set the headers with a succeeded job's computing time and the rest of its time.

    A claimed run may still wait for a row in its worker's engine: all time not spent computing is queueing.
    """
    if view.result is not None and view.ended_ms is not None:
        queue_s = (view.ended_ms - view.created_ms) / 1000 - view.result.compute_s
        headers = reply_of(http).headers
        headers["x-compute-time"] = f"{view.result.compute_s:.3f}"
        headers["x-queue-time"] = f"{max(0.0, queue_s):.3f}"


async def answer(http: HttpRequest, context: ProcessContext, view: JobView, terms: Terms) -> JobView:
    """The job, once it has succeeded.

    Raises the job's own error, ModelFailed, Unavailable `wait_exceeded` (the job goes on), ClientDisconnect.
    """
    limit_s = context.settings.api.sync_limit_s
    with left_where_one_fails(context, (view,), terms):
        if not view.ended:
            view = await attend(http, context, view, limit_s, leaves=may_leave(terms), over=over)
        note(http, view)
        check_ended(view, limit_s)
    result_of(view)
    note_times(http, view)
    return view


@contextmanager
def left_where_one_fails(context: ProcessContext, views: Sequence[JobView], terms: Terms) -> Iterator[None]:
    """On an error, leave the jobs; a job whose caller only waited too long (`wait_exceeded`) goes on."""
    try:
        yield
    except ServiceError as error:
        if may_leave(terms) and error.code != "wait_exceeded":
            for view in views:
                context.leaving.left(view, told_s=error.retry_after or 0)
        raise


def leave(context: ProcessContext, views: Sequence[JobView], *, at_once: bool = False) -> None:
    for view in views:
        context.leaving.left(view, at_once=at_once)


def check_ended(view: JobView, limit_s: float) -> None:
    """Raises ModelFailed, and Unavailable `wait_exceeded` for a job that has not ended within `limit_s`."""
    check_hope(view)
    if not view.ended:
        raise wait_exceeded(view, limit_s)


def over(view: JobView) -> bool:
    """Whether to stop waiting for the job: it has ended, or never will."""
    return view.ended or hopeless(view)


def hopeless(view: JobView) -> bool:
    return view.model_failed is not None


def check_hope(view: JobView) -> None:
    """Raises ModelFailed where waiting for the job's model is useless."""
    if hopeless(view):
        raise model_failed(view.model, view.model_failed)


def wait_exceeded(view: JobView, limit_s: float) -> Unavailable:
    return Unavailable("wait_exceeded", f"No answer within {limit_s:g} s; /v1/jobs/{view.id} goes on.")


def may_leave(terms: Terms) -> bool:
    """A caller with an Idempotency-Key means to come back for the answer."""
    return terms.idempotency_key is None


def result_of(view: JobView) -> Result:
    """An ended job's result.

    Raises the error it ended with, ServiceError `job_cancelled`, CallerError `result_expired`.
    """
    if view.result is not None:
        return view.result
    if view.error is not None:
        raise from_job(view.error)
    if view.status == "cancelled":
        raise ServiceError("job_cancelled", "The job was cancelled before it ended.")
    if view.expired:
        raise CallerError("result_expired", "The result of this job is no longer kept.")
    raise InternalError


async def attend(
    http: HttpRequest,
    context: ProcessContext,
    view: JobView,
    limit_s: float,
    *,
    leaves: bool,
    over: Over = ended,
) -> JobView:
    """The newest view, at the job's end, when `over` says that it is enough, or after `limit_s`.

    Raises ClientDisconnect where the caller hangs up first; with `leaves` the job is then
    cancelled too, after a grace time and unless others wait for its run.
    """
    left = partial(context.leaving.left, view) if leaves else None
    return await unless_gone(http, context.waiting.until_ended(view, limit_s, over), left)


async def unless_gone(
    http: HttpRequest, coming: Coroutine[Any, Any, T], left: Callable[[], None] | None
) -> T:
    """What `coming` returns. Where the caller hangs up first, calls `left` and raises ClientDisconnect."""
    waiting = asyncio.ensure_future(coming)
    gone = asyncio.ensure_future(disconnected(http))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if left is not None:
            left()
        raise ClientDisconnect
    finally:
        waiting.cancel()
        gone.cancel()
        await asyncio.gather(waiting, gone, return_exceptions=True)
