"""Answers one call with several prompts: a job for each, merged into one answer.

Each job has its own cache key, its own run and its own place in the queue. All are admitted or none, and
where one fails its error is the call's.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import Request as HttpRequest

from api.admission.submission import Terms
from api.answers.answering import (
    answer,
    check_ended,
    forget_behind,
    leave,
    left_where_one_fails,
    may_leave,
    note,
    note_times,
    over,
    result_of,
    unless_gone,
)
from api.context import ProcessContext
from api.wire.reply import reply_of
from shared.errors import CallerError, ServiceError
from shared.job import CacheWord, JobView
from shared.request import Request
from shared.result import Usage

# The call's cache word is the worst of its jobs': it tells whether anything was computed for this call.
MOST_NAMED = 50
"""Job ids in one answer's headers: under 2 KiB, because proxies take a head of one page (nginx: 4 KiB)."""
WORDS: tuple[CacheWord, ...] = ("BYPASS", "MISS", "COALESCED", "HIT")


async def submit_all(
    http: HttpRequest, context: ProcessContext, requests: Sequence[Request], terms: Terms
) -> list[JobView]:
    """Admit the requests of a call and name their jobs in the answer's headers.

    All are checked before the first is admitted. Where the line then refuses one, the others are cancelled;
    with an Idempotency-Key they stay, and a repeat of the call finds them.
    Raises as `Submission.submit`.
    """
    limit = context.settings.api.prompts_limit
    if len(requests) > limit:
        message = f"`prompt` takes up to {limit} texts; send the others in another call."
        raise CallerError("invalid_request", message, param="prompt")
    reservation = reply_of(http).reservation
    views: list[JobView] = []
    try:
        with _left_unless_all(context, views, terms):
            if len(requests) > 1 and await context.submission.repeated(terms) is None:
                model = context.models.resolve(requests[0].model)
                for request in requests:
                    await context.submission.examined(request, terms, model, reservation)
            for number, request in enumerate(requests):
                views.append(await context.submission.submit(request, _terms_of(terms, number), reservation))
    finally:
        await reservation.release()
    _note(http, views)
    return views


@contextmanager
def _left_unless_all(context: ProcessContext, views: Sequence[JobView], terms: Terms) -> Iterator[None]:
    """Where not all are admitted, leave those that were: nobody waits for them."""
    at_once = all_there = False
    try:
        yield
        all_there = True
    except ServiceError as error:
        # A store that was just out of reach is asked later, when it may be back.
        at_once = error.code != "store_unavailable"
        raise
    finally:
        if not all_there and may_leave(terms):
            leave(context, views, at_once=at_once)


async def answer_all(
    http: HttpRequest, context: ProcessContext, views: Sequence[JobView], terms: Terms
) -> JobView:
    """The jobs as one, once all have succeeded. Raises as `answer`; where one fails the others are left."""
    if len(views) == 1:
        return await answer(http, context, views[0], terms)
    left = partial(leave, context, views) if may_leave(terms) else None
    whole = merged(await unless_gone(http, _succeeded(context, views, terms), left))
    note_times(http, whole)
    return whole


async def ended_all(http: HttpRequest, context: ProcessContext, views: Sequence[JobView]) -> JobView:
    """The ended jobs merged into one; those not to be stored are forgotten after the answer."""
    found = await asyncio.gather(*(context.jobs.get(view.caller, view.id) for view in views))
    for view in found:
        forget_behind(http, view)
    return merged(found)


def merged(views: Sequence[JobView]) -> JobView:
    """Succeeded jobs as one: their answers in order, the sum of their tokens, the times of the last to end.

    A job that ended without an answer stands for all.
    """
    if len(views) == 1:
        return views[0]
    results = [view.result for view in views if view.result is not None]
    if len(results) < len(views):
        return next(view for view in views if view.ended and view.result is None)
    last = max(views, key=lambda view: view.ended_ms or 0)
    choices = tuple(choice for result in results for choice in result.choices)
    usage = Usage(**{name: sum(getattr(r.usage, name) for r in results) for name in Usage.model_fields})
    result = (last.result or results[0]).model_copy(update={"choices": choices, "usage": usage})
    size = sum(view.bytes for view in views)
    return replace(last, id=views[0].id, created_ms=views[0].created_ms, result=result, bytes=size)


async def _succeeded(context: ProcessContext, views: Sequence[JobView], terms: Terms) -> list[JobView]:
    tasks = [asyncio.ensure_future(_answered(context, view)) for view in views]
    try:
        with left_where_one_fails(context, views, terms):
            return await asyncio.gather(*tasks)
    finally:
        await dropped(tasks)


async def _answered(context: ProcessContext, view: JobView) -> JobView:
    limit_s = context.settings.api.sync_limit_s
    view = await context.waiting.until_ended(view, limit_s, over)
    check_ended(view, limit_s)
    result_of(view)
    return view


async def dropped(tasks: Collection["asyncio.Future[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _terms_of(terms: Terms, number: int) -> Terms:
    """The terms of one prompt. No header holds a line break, so no caller can send the keys made here."""
    if terms.idempotency_key is None or not number:
        return terms
    return replace(terms, idempotency_key=f"{terms.idempotency_key}\n{number}")


def _note(http: HttpRequest, views: Sequence[JobView]) -> None:
    for view in views:
        note(http, view)
    headers = reply_of(http).headers
    headers["x-job-id"] = ", ".join(view.id for view in views[:MOST_NAMED])
    served = {view.cache for view in views}
    if word := next((word for word in WORDS if word in served), None):
        headers["x-cache"] = word
