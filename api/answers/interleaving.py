"""Merges the event streams of several jobs into one, event by event as they come."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request as HttpRequest

from api.admission.submission import Terms
from api.answers.answering import leave, left_where_one_fails, may_leave
from api.answers.following import follow_answer
from api.answers.together import dropped
from api.context import ProcessContext
from shared.errors import ServiceError
from shared.job import Event, JobView


def follow_all(
    request: HttpRequest, context: ProcessContext, views: Sequence[JobView], terms: Terms, answers: int
) -> AsyncGenerator[Event | str]:
    """As `follow_answer`, for several jobs with `answers` choices each, numbered through.

    The last event is that of the last job to end, or of the first that did not succeed; then the others are
    left.
    """
    stories = [follow_answer(request, context, view, terms) for view in views]
    return stories[0] if len(stories) == 1 else _one_story(context, views, terms, stories, answers)


async def _one_story(
    context: ProcessContext,
    views: Sequence[JobView],
    terms: Terms,
    stories: Sequence[AsyncGenerator[Event | str]],
    answers: int,
) -> AsyncGenerator[Event | str]:
    under_way = set(range(len(views)))
    with left_where_one_fails(context, views, terms):
        async with aclosing(_by_turns(stories)) as told:
            async for number, event in told:
                if isinstance(event, str):
                    # One job's keep-alives are enough.
                    if number == min(under_way):
                        yield event
                elif not event.last:
                    yield _numbered(event, number * answers)
                else:
                    under_way.discard(number)
                    if event.type == "succeeded" and under_way:
                        continue
                    if under_way and may_leave(terms):
                        leave(context, views)
                    yield event
                    return
    raise ServiceError("stream_broken", "The stream broke off before its jobs' end.")


async def _by_turns(
    stories: Sequence[AsyncGenerator[Event | str]],
) -> AsyncGenerator[tuple[int, Event | str]]:
    """The streams' events as they come, each with its stream's number."""
    coming = {asyncio.ensure_future(anext(story, None)): number for number, story in enumerate(stories)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=coming.__getitem__):
                number = coming.pop(task)
                if (told := task.result()) is not None:
                    yield number, told
                    coming[asyncio.ensure_future(anext(stories[number], None))] = number
    finally:
        await dropped(coming)
        for story in stories:
            await story.aclose()


def _numbered(event: Event, before: int) -> Event:
    """The event with its choice numbered after `before` others."""
    if event.type != "text" or not before:
        return event
    return replace(event, data={**event.data, "choice": before + event.data.get("choice", 0)})
