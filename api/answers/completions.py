"""Answers OpenAI's chat completions and completions, whole or streamed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from pydantic_core import to_json

from api.admission.headers import terms as terms_of
from api.admission.headers import waits_for_model
from api.admission.submission import Terms
from api.answers.event_stream import follow_answer, streamed
from api.answers.sync import (
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
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects import strict_json
from api.dialects.openai import chat, completions
from api.dialects.openai.chat import Chat
from api.dialects.openai.completion_streams import ChatStream, Counting, Stream, TextStream
from api.server.body import read_body, translated
from api.server.reply import reply_of
from api.server.route import json_answer
from api.server.sse import DONE, EventStream, block, comment
from shared.errors import CallerError, ServiceError
from shared.job import CacheWord, Event, JobView
from shared.offload import offload_if_large
from shared.request import Request
from shared.result import Usage

# Answers one call with several prompts: a job for each, merged into one answer.
#
# Each job has its own cache key, its own run and its own place in the queue. All are admitted or none, and
# where one fails its error is the call's.

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


# Merges the event streams of several jobs into one, event by event as they come.


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


@dataclass(frozen=True)
class CompletionDialect:
    """One dialect's functions under common names."""

    read: Callable[[Any], Chat]
    whole: Callable[[JobView, str, int], dict[str, Any]]
    stream: type[Stream]


CHAT = CompletionDialect(read=chat.from_chat, whole=chat.to_completion, stream=ChatStream)
TEXT = CompletionDialect(
    read=completions.from_completion, whole=completions.to_text_completion, stream=TextStream
)


async def complete(
    request: HttpRequest, dialect: CompletionDialect, *, path_id: str | None = None
) -> Response:
    """Answer a call in `dialect`; `path_id` is the model the path names, used where the body names none."""
    context, caller = context_of(request), caller_of(request).id
    body = await read_body(request, context.settings.api)
    asked = await translated(caller, body, lambda raw: dialect.read(strict_json.parse(raw)))
    model = context.models.recall(asked.request.model, path_id=path_id)
    requests = [q.model_copy(update={"model": model.id}) for q in (asked.request, *asked.others)]
    said = terms_of(request, body)
    terms = replace(
        said,
        # A path with a model's id is one of Hugging Face's routes.
        hf=path_id is not None,
        metadata=asked.metadata,
        priority=asked.priority,
        stored=asked.stored,
        must_be_ready=not waits_for_model(request),
        quiet=True,
    )
    views = await submit_all(request, context, requests, terms)
    # The answer may take minutes; free the body's memory.
    del body, requests
    asked = replace(asked, request=asked.request.without_bytes(), others=())
    if asked.stream:
        views = [streamed(view) for view in views]
        left = partial(leave, context, views) if may_leave(terms) else None
        blocks = _blocks(request, context, views, terms, dialect, asked)
        return EventStream(blocks, head_start_s=context.settings.api.head_start_s, left=left)
    ended = await answer_all(request, context, views, terms)
    created = ended.created_ms // 1000
    return await offload_if_large(lambda: json_answer(dialect.whole(ended, model.id, created)), ended.bytes)


async def _blocks(
    request: HttpRequest,
    context: ProcessContext,
    views: Sequence[JobView],
    terms: Terms,
    dialect: CompletionDialect,
    asked: Chat,
) -> AsyncGenerator[bytes]:
    tools, answers = asked.request.tools, asked.request.parameters.n or 1
    told = dialect.stream(views[0], usage=asked.include_usage, calls=tools is not None and tools.required)
    counting = Counting(wanted=asked.counted)
    # Held back until the first event: until then an error still has its own HTTP status.
    opening = told.opening(answers * len(views))
    async with aclosing(follow_all(request, context, views, terms, answers)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.type == "text":
                counting.count(event.data)
                due = counting.opened(opening, event.data.get("choice", 0))
                yield _written([*due, *counting.told(told.piece(event.data))]) or comment("")
            elif event.last:
                ended = await ended_all(request, context, views)
                due = counting.opened(opening)
                last = _written([*due, *counting.told(told.ending(result_of(ended)))]) + DONE
                del ended
                yield last


def _written(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(block(to_json(chunk)) for chunk in chunks)
