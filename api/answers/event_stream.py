"""Follows a job's events for a stream, with a keep-alive wherever they pause."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request

from api.admission.submission import Terms
from api.answers.sync import check_hope, left_where_one_fails, note, wait_exceeded
from api.context import ProcessContext
from api.jobs.waiting import POLL_S
from shared.errors import ServiceError
from shared.job import Event, JobView


async def follow(
    request: Request, context: ProcessContext, view: JobView, after: int = 0
) -> AsyncGenerator[Event | str]:
    """Events after id `after`, to the terminal one; while none comes, strings that say where the job stands.

    Close it (`aclosing`) to stop listening. Raises ServiceError, also where the stream breaks off.
    """
    keepalive_s = context.settings.api.keepalive_s
    async with aclosing(_story(request, context, view, after, keepalive_s)) as story:
        async for found in story:
            yield standing(found) if isinstance(found, JobView) else found


async def follow_answer(
    request: Request, context: ProcessContext, view: JobView, terms: Terms
) -> AsyncGenerator[Event | str]:
    """As `follow`, for a caller whose answer is the stream itself, and with limits on waiting.

    Raises as `follow`, and ModelFailed, and Unavailable `wait_exceeded` where nothing has begun within
    `sync_limit_s`, or no worker goes on with what had begun. Where it raises, the job is left if it may be.
    """
    with left_where_one_fails(context, (view,), terms):
        async with aclosing(_patient_story(request, context, view)) as story:
            async for found in story:
                yield found


async def _patient_story(
    request: Request, context: ProcessContext, view: JobView
) -> AsyncGenerator[Event | str]:
    api = context.settings.api
    began = heard = told = time.monotonic()
    look_s = min(api.keepalive_s, POLL_S, api.sync_limit_s)
    async with aclosing(_story(request, context, view, 0, look_s)) as story:
        async for found in story:
            now = time.monotonic()
            if isinstance(found, Event):
                heard = told = now
                yield found
                continue
            check_hope(found)
            since = began if found.status == "queued" else heard
            if found.waiting_reason is not None and now - since >= api.sync_limit_s:
                raise wait_exceeded(found, api.sync_limit_s)
            if now - told >= api.keepalive_s:
                told = now
                yield standing(found)


async def _story(
    request: Request, context: ProcessContext, view: JobView, after: int, pause_s: float
) -> AsyncGenerator[Event | JobView]:
    """Events, and the job's newest view whenever nothing came for `pause_s`.

    For a job whose pictures had to be fetched, headers not sent by then get its cache word.
    """
    placing = view.cache is None
    async with aclosing(context.waiting.events(view, after, pause_s)) as events:
        async for event in events:
            if event is None:
                yield await context.jobs.get(view.caller, view.id)
            else:
                if placing:
                    note(request, await context.jobs.get(view.caller, view.id))
                    placing = False
                yield event
                if event.last:
                    return
    if not view.ended:
        raise ServiceError("stream_broken", "The stream broke off before the job's end.")


def streamed(view: JobView) -> JobView:
    """The job without its texts, which a stream need not hold in memory for a slow reader."""
    if view.result is None:
        return view
    return replace(view, result=view.result.model_copy(update={"choices": ()}))


def standing(view: JobView) -> str:
    """A keep-alive's text: how many are ahead and why the job waits."""
    words = [view.status, "" if view.ahead is None else str(view.ahead), view.waiting_reason or ""]
    return " ".join(word for word in words if word)
