"""A call whose answer is the result: submit, wait for the end, or say why there is none."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.admission.preferences import preferences
from api.admission.readiness import model_failed
from api.admission.submission import Terms
from api.context import ProcessContext, context_of
from api.jobs.waiting import Over, ended
from api.wire.edge import disconnected
from api.wire.problems import from_job
from api.wire.reply import reply_of
from shared.errors import CallerError, InternalError, ServiceError, Unavailable
from shared.job import JobView
from shared.request import Request as Question
from shared.result import Result

T = TypeVar("T")


async def submit(request: Request, context: ProcessContext, question: Question, terms: Terms) -> JobView:
    """Admit a question and note its job on the answer, whatever the answer becomes."""
    luggage = reply_of(request).luggage
    try:
        view = await context.submission.submit(question, terms, luggage)
    finally:
        await luggage.leave()
    note(request, view)
    return view


def note(request: Request, view: JobView) -> None:
    """Name the job in the headers of whatever is answered, with what is known of it by now.

    One that has ended and is not to be stored is forgotten behind that answer.
    """
    answer = reply_of(request)
    answer.headers["x-job-id"] = view.id
    if view.cache is not None:
        answer.headers["x-cache"] = view.cache
    forget_behind(request, view)


def forget_behind(request: Request, view: JobView) -> None:
    """Forget a job that is not to be stored when the answer, which tells its end, was sent."""
    if view.ended and not view.stored:
        reply_of(request).afterwards = partial(context_of(request).jobs.forget, view)


async def wait_as_preferred(request: Request, context: ProcessContext, view: JobView) -> JobView:
    """The newest view, once the job ended or the caller's `Prefer: wait` is over.

    Raises ClientDisconnect where the caller hangs up first; the job goes on.
    """
    wait_s = preferences(request).wait_s
    if wait_s:
        limit_s = min(wait_s, context.settings.api.sync_limit_s)
        view = await attend(request, context, view, limit_s, leaves=False)
        note(request, view)
    return view


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

    Raises the job's own error, ModelFailed, Unavailable `wait_exceeded` (the job goes on), ClientDisconnect.
    """
    limit_s = context.settings.api.sync_limit_s
    with left_where_one_fails(context, (view,), terms):
        if not view.ended:
            view = await attend(request, context, view, limit_s, leaves=may_leave(terms), over=over)
        note(request, view)
        check_ended(view, limit_s)
    result_of(view)
    note_times(request, view)
    return view


@contextmanager
def left_where_one_fails(context: ProcessContext, views: Sequence[JobView], terms: Terms) -> Iterator[None]:
    """What was only waited for in vain goes on."""
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
    """Raises ModelFailed, and `wait_exceeded` where a job was waited for for as long as it may take."""
    check_hope(view)
    if not view.ended:
        raise wait_exceeded(view, limit_s)


def over(view: JobView) -> bool:
    """Whether waiting for it is of no more use."""
    return view.ended or hopeless(view)


def hopeless(view: JobView) -> bool:
    return view.model_failed is not None


def check_hope(view: JobView) -> None:
    """Raises ModelFailed where waiting for the job's model does not help."""
    if hopeless(view):
        raise model_failed(view.model, view.model_failed)


def wait_exceeded(view: JobView, limit_s: float) -> Unavailable:
    return Unavailable("wait_exceeded", f"No answer within {limit_s:g} s; /v1/jobs/{view.id} goes on.")


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
    if view.status == "succeeded":
        raise CallerError("result_expired", "The result of this job is no longer kept.")
    raise InternalError


async def attend(
    request: Request,
    context: ProcessContext,
    view: JobView,
    limit_s: float,
    *,
    leaves: bool,
    over: Over = ended,
) -> JobView:
    """The newest view: at the job's end or where `over` says that it is enough, or after `limit_s`.

    Raises ClientDisconnect where the caller hangs up first; with `leaves` the job is then left too.
    """
    left = partial(context.leaving.left, view) if leaves else None
    return await unless_gone(request, context.waiting.until_ended(view, limit_s, over), left)


async def unless_gone(request: Request, coming: Coroutine[Any, Any, T], left: Callable[[], None] | None) -> T:
    """What comes. Raises ClientDisconnect where the caller hangs up first, having called `left`."""
    waiting = asyncio.ensure_future(coming)
    gone = asyncio.ensure_future(disconnected(request))
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
