"""Answers OpenAI's Responses: whole, as a stream, or in the background."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import Request as HttpRequest

from api.admission.headers import SyncHeaders
from api.admission.submission import Origin, Terms
from api.answers.event_stream import Events, follow_answer, follow_job, without_texts
from api.answers.sync import SyncCall, ended_job, readable, result_of
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects import strict_json
from api.dialects.openai.response_events import ResponseEvent, ResponseEventWriter
from api.dialects.openai.response_items import continued
from api.dialects.openai.response_object import (
    OutputItem,
    ResponseFields,
    ResponseObject,
    StoredResponse,
    job_of,
    to_output,
    to_response,
    with_details,
)
from api.dialects.openai.responses import ResponseTurn, from_response, references, response_of, with_items
from api.server.body import parse_body, read_body
from api.server.reply import reply_of
from api.server.route import Json
from api.server.sse import EventStream, block, comment
from shared.errors import CallerError
from shared.job import Event, JobView
from shared.json_line import to_json
from shared.offload import offload_if_large
from shared.request import Parameters, Request
from shared.result import Result

BEFORE_ALL = -1
"""Before the first event, whose number is 0."""


async def respond(
    http: HttpRequest, headers: SyncHeaders, turn: ResponseTurn
) -> Json[ResponseObject] | EventStream[ResponseEvent]:
    """Answer a call; a call in the background is answered at once, whatever its model's state."""
    terms = _terms(http, headers, turn)
    request = await _with_earlier_turns(context_of(http), terms, turn)
    fields = with_details(turn.fields, request)
    outline = fields.model_dump_json(exclude_defaults=True)
    call = SyncCall(http, replace(terms, origin=replace(terms.origin, response=outline)))
    job = await call.submit(request)
    # The answer may take minutes; free the pictures' memory.
    request = turn.request = request.without_bytes()
    response = StoredResponse(job, request, fields)
    if fields.background:
        return replay(http, response, BEFORE_ALL) if turn.stream else await write(response)
    if turn.stream:
        response = replace(response, job=without_texts(job))
        events = follow_answer(call, response.job)
        writer = ResponseEventWriter(response)
        blocks = _blocks(http, response, writer, events, waits_for_text=True)
        on_disconnect = call.on_disconnect(response.job)
        return EventStream(blocks, on_disconnect=on_disconnect, error_data=writer.error)
    return await write(replace(response, job=await call.answer(job)))


async def stored_response(
    context: ProcessContext, caller: str, id: str, param: str | None = None
) -> StoredResponse:
    """A response of this caller. Raises CallerError `response_not_found`, `result_expired`."""
    job = await context.jobs.response(caller, job_of(id), param)
    request = await context.jobs.request_of(job, param)
    return StoredResponse(job, request, ResponseFields.model_validate_json(job.response or "{}"))


def readable_response(http: HttpRequest, response: StoredResponse) -> StoredResponse:
    """As `readable`: where the key lacks `read`, also without what the response was asked."""
    job, request, fields = readable(http, response.job), response.request, response.fields
    if not caller_of(http).reads:
        request = request.model_copy(update={"tools": None, "parameters": Parameters()})
        fields = ResponseFields(background=fields.background)
    return StoredResponse(job, request, fields)


async def write(response: StoredResponse) -> Json[ResponseObject]:
    return await offload_if_large(lambda: Json(to_response(response)), response.job.bytes)


def replay(http: HttpRequest, response: StoredResponse, after: int) -> EventStream[ResponseEvent]:
    """The response's events after number `after`, to the last one."""
    response = replace(response, job=without_texts(response.job))
    writer = ResponseEventWriter(response)
    blocks = _blocks(http, response, writer, follow_job(http, response.job), after)
    return EventStream(blocks, error_data=writer.error)


async def read_turn(http: HttpRequest) -> ResponseTurn:
    """The call in a body, earlier items it names filled in. Raises CallerError, also as `_result`."""
    caller, body = caller_of(http), await read_body(http)
    value = await parse_body(http, body, strict_json.parse)
    if ids := references(value):
        caller.check_reads()
        items = await _items(context_of(http), caller.id, ids)
        value = with_items(value, items)
    turn = await parse_body(http, body, lambda _: from_response(value))
    if turn.fields.previous is not None:
        caller.check_reads()
    return turn


async def _items(context: ProcessContext, caller: str, ids: dict[int, str]) -> dict[int, OutputItem]:
    """Items of this caller's earlier answers, by the index of the input that names them."""
    answers: dict[str, dict[str, OutputItem]] = {}
    items: dict[int, OutputItem] = {}
    for place, id in ids.items():
        param, response = f"input[{place}].id", response_of(id)
        if response not in answers:
            job = await context.jobs.response(caller, job_of(response), param)
            # Its likelihoods, many times as large, are no part of a question.
            result = _result(job, param).without_logprobs()
            answers[response] = {item["id"]: item for item in to_output(job.id, result)}
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


def _terms(http: HttpRequest, headers: SyncHeaders, turn: ResponseTurn) -> Terms:
    background = turn.fields.background
    return Terms(
        caller=caller_of(http),
        idempotency=headers.idempotency(http),
        use_cache=headers.use_cache,
        stored=turn.stored,
        priority=turn.priority,
        must_be_ready=not (background or headers.wait_for_model),
        origin=Origin(reply_of(http).request_id),
        metadata=turn.metadata,
        synchronous=not background,
    )


async def _with_earlier_turns(context: ProcessContext, terms: Terms, turn: ResponseTurn) -> Request:
    """The request, with the earlier conversation before it where there is one.

    Raises CallerError `model_not_found`; for the response that it goes on from also `response_not_found`,
    `job_not_ended`, `result_expired`, `invalid_request`.
    """
    request = turn.request.for_model(context.models.recall(turn.request.model).id)
    # A repeat under an Idempotency-Key gets the same answer, whatever became of the earlier response.
    if turn.fields.previous is None or await context.submission.repeated_job(terms) is not None:
        return request
    param = "previous_response_id"
    earlier = await stored_response(context, terms.caller.id, turn.fields.previous, param)
    return continued(request, turn.fields, earlier, _result(earlier.job, param))


async def _blocks(
    http: HttpRequest,
    response: StoredResponse,
    writer: ResponseEventWriter,
    events: Events,
    after: int = BEFORE_ALL,
    *,
    waits_for_text: bool = False,
) -> AsyncGenerator[bytes]:
    """The response's events after number `after`, encoded.

    With `waits_for_text` nothing is sent before the first text: until then an error has its own HTTP status.
    Raises CallerError `stream_rewound` where the store has fewer events than the reader has seen.
    """
    pending = writer.opening()
    if not waits_for_text and (part := _to_sse(pending, after)):
        yield part
    async with aclosing(events) as job_events:
        async for event in job_events:
            if isinstance(event, str):
                yield comment(event)
                continue
            lost = writer.skip_lost(event)
            ended = await ended_job(http, response.job) if event.last else None
            size = ended.bytes if ended else 0
            written = await offload_if_large(
                partial(_events_of, writer, event, ended, unsent=waits_for_text), size
            )
            pending = [*(pending if waits_for_text else ()), *written]
            if after in lost or (event.id >= response.job.last_event and writer.next_number <= after):
                raise CallerError("stream_rewound", "The store lost the end of this stream; read it again.")
            waits_for_text = waits_for_text and event.type != "text" and not event.last
            if waits_for_text:
                continue
            part = await offload_if_large(partial(_to_sse, pending, after), size)
            # Only the encoded part is in memory while a slow reader takes it.
            pending, written, ended = [], [], None
            if part:
                yield part


def _events_of(
    writer: ResponseEventWriter, event: Event, ended: JobView | None, *, unsent: bool
) -> list[ResponseEvent]:
    """The response events of a job's event. Raises the job's own error where nothing was sent before it."""
    if ended is None:
        return writer.events(event)
    if unsent:
        result_of(ended)
    return writer.ending(ended)


def _to_sse(events: list[ResponseEvent], after: int) -> bytes:
    later = (event for event in events if event["sequence_number"] > after)
    return b"".join(block(to_json(event), event=event["type"]) for event in later)
