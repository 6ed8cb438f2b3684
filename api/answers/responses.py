"""Answers OpenAI's Responses: whole, as a stream, or in the background."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import Request as HttpRequest
from fastapi import Response
from pydantic_core import to_json

from api.admission.headers import terms as terms_of
from api.admission.headers import waits_for_model
from api.admission.submission import Terms
from api.answers.event_stream import follow, follow_answer, streamed
from api.answers.sync import answer, forget_behind, may_leave, result_of, submit
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects import strict_json
from api.dialects.openai.response_events import Story, Told
from api.dialects.openai.response_items import continued
from api.dialects.openai.response_object import Kept, Outline, detailed, job_of, to_output, to_response
from api.dialects.openai.responses import ResponseTurn, from_response, references, response_of, written_out
from api.server.body import read_body, translated
from api.server.route import json_answer
from api.server.sse import EventStream, block, comment
from shared.errors import CallerError
from shared.job import Event, JobView
from shared.offload import offload_if_large
from shared.request import Request
from shared.result import Result

NOTHING_SEEN = -1
"""Before the first event, whose number is 0."""


async def respond(http: HttpRequest) -> Response:
    """Answer a call; a call in the background is answered at once, whatever its model's state."""
    context = context_of(http)
    body = await read_body(http, context.settings.api)
    call = await _read(http, body)
    terms = _terms(http, body, call)
    request = await _request(context, call, terms)
    outline = detailed(call.outline, request)
    terms = replace(terms, response=outline.model_dump_json(exclude_defaults=True))
    view = await submit(http, context, request, terms)
    # The answer may take minutes; free the body's memory.
    del body
    call, request = replace(call, request=call.request.without_bytes()), request.without_bytes()
    kept = Kept(view, request, outline)
    if call.outline.background:
        return replay(http, kept, NOTHING_SEEN) if call.stream else await written(kept)
    if call.stream:
        kept = replace(kept, view=streamed(view))
        left = partial(context.leaving.left, kept.view) if may_leave(terms) else None
        blocks = _blocks(http, kept, follow_answer(http, context, kept.view, terms), holds=True)
        return EventStream(blocks, head_start_s=context.settings.api.head_start_s, left=left)
    return await written(replace(kept, view=await answer(http, context, view, terms)))


async def found(context: ProcessContext, caller: str, response: str, param: str | None = None) -> Kept:
    """A response of this caller. Raises CallerError `response_not_found`, `result_expired`."""
    view = await context.jobs.response(caller, job_of(response), param)
    request = await context.jobs.request_of(view, param)
    return Kept(view, request, Outline.model_validate_json(view.response or "{}"))


async def written(kept: Kept) -> Response:
    return await offload_if_large(lambda: json_answer(to_response(kept)), kept.view.bytes)


def replay(http: HttpRequest, kept: Kept, after: int) -> EventStream:
    """The response's events after number `after`, to the last one."""
    context = context_of(http)
    kept = replace(kept, view=streamed(kept.view))
    blocks = _blocks(http, kept, follow(http, context, kept.view), after)
    return EventStream(blocks, head_start_s=context.settings.api.head_start_s)


async def _read(http: HttpRequest, body: bytes) -> ResponseTurn:
    """The call in a body, earlier items it names filled in. Raises CallerError, also as `_result`."""
    caller = caller_of(http)
    said = await translated(caller.id, body, strict_json.parse)
    if named := references(said):
        caller.check_reads()
        items = await _items(context_of(http), caller.id, named)
        said = written_out(said, items)
    call = await translated(caller.id, body, lambda _: from_response(said))
    if call.outline.previous is not None:
        caller.check_reads()
    return call


async def _items(context: ProcessContext, caller: str, named: dict[int, str]) -> dict[int, Told]:
    """Items of this caller's earlier answers, by the index of the input that names them."""
    answers: dict[str, dict[str, Told]] = {}
    items: dict[int, Told] = {}
    for place, id in named.items():
        param, response = f"input[{place}].id", response_of(id)
        if response not in answers:
            view = await context.jobs.response(caller, job_of(response), param)
            answers[response] = {item["id"]: item for item in to_output(view.id, _result(view, param))}
        if id not in answers[response]:
            raise CallerError("response_not_found", "No answer that is kept has this item.", param=param)
        items[place] = answers[response][id]
    return items


def _result(earlier: JobView, param: str) -> Result:
    """The result of the earlier response that a call goes on from.

    Raises CallerError `response_not_found`, `job_not_ended`, `result_expired`, `invalid_request`.
    """
    if not earlier.stored:
        raise CallerError("response_not_found", "The response to go on from was not stored.", param=param)
    if not earlier.ended:
        raise CallerError("job_not_ended", "The response to go on from has not ended yet.", param=param)
    if earlier.expired:
        raise CallerError("result_expired", "This response is no longer kept.", param=param)
    if earlier.result is None:
        raise CallerError("invalid_request", "The response to go on from has no answer.", param=param)
    return earlier.result


def _terms(http: HttpRequest, body: bytes, call: ResponseTurn) -> Terms:
    return replace(
        terms_of(http, body),
        metadata=call.metadata,
        stored=call.stored,
        priority=call.priority,
        must_be_ready=not (call.outline.background or waits_for_model(http)),
        quiet=not call.outline.background,
    )


async def _request(context: ProcessContext, call: ResponseTurn, terms: Terms) -> Request:
    """The request, with the earlier conversation before it where there is one.

    Raises CallerError `model_not_found`; for the response that it goes on from also `response_not_found`,
    `job_not_ended`, `result_expired`, `invalid_request`.
    """
    model = context.models.recall(call.request.model)
    request = call.request.model_copy(update={"model": model.id})
    # A repeat under an Idempotency-Key gets the same answer, whatever became of the earlier response.
    if call.outline.previous is None or await context.submission.repeated(terms) is not None:
        return request
    param = "previous_response_id"
    earlier = await found(context, terms.caller, call.outline.previous, param)
    return continued(request, call.outline, earlier, _result(earlier.view, param))


async def _blocks(
    http: HttpRequest,
    kept: Kept,
    events: AsyncGenerator[Event | str],
    after: int = NOTHING_SEEN,
    *,
    holds: bool = False,
) -> AsyncGenerator[bytes]:
    """The response's events after number `after`, encoded.

    With `holds` nothing is sent before the first text: until then an error has its own HTTP status. Raises
    CallerError `stream_rewound` where the store has fewer events than the reader has seen.
    """
    story = Story(kept)
    told = story.opening()
    if not holds and (part := _written(told, after)):
        yield part
    async with aclosing(events) as heard:
        async for event in heard:
            if isinstance(event, str):
                yield comment(event)
                continue
            lost = story.pass_over(event)
            ended = await _ended(http, kept.view) if event.last else None
            size = ended.bytes if ended else 0
            fresh = await offload_if_large(partial(_retold, story, event, ended, silent=holds), size)
            told = [*(told if holds else ()), *fresh]
            if after in lost or (event.id >= kept.view.last_event and story.told <= after):
                raise CallerError("stream_rewound", "The store lost the end of this stream; read it again.")
            holds = holds and event.type != "text" and not event.last
            if holds:
                continue
            part = await offload_if_large(partial(_written, told, after), size)
            # Hold only the encoded part while a slow reader takes it.
            told, fresh, ended = [], [], None
            if part:
                yield part


async def _ended(http: HttpRequest, view: JobView) -> JobView:
    ended = await context_of(http).jobs.get(view.caller, view.id)
    forget_behind(http, ended)
    return ended


def _retold(story: Story, event: Event, ended: JobView | None, *, silent: bool) -> list[Told]:
    """The response events of a job's event. Raises the job's own error where nothing was sent before it."""
    if ended is None:
        return story.of(event)
    if silent:
        result_of(ended)
    return story.ending(ended)


def _written(told: list[Told], after: int) -> bytes:
    return b"".join(block(to_json(t), event=t["type"]) for t in told if t["sequence_number"] > after)
