"""Routes of OpenAI's Responses: create, read, follow, cancel and delete one, and list its input."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi import Request as HttpRequest

from api.admission.headers import SyncHeaders, ascending, flag, integer, page_limit
from api.admission.submission import Origin, Terms
from api.answers.event_stream import Events, follow_answer, follow_job, without_texts
from api.answers.sync import SyncCall, ended_job, readable, result_of, set_job_headers
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects import strict_json
from api.dialects.openai.response_events import ResponseEvent, ResponseEventWriter
from api.dialects.openai.response_items import InputItemList, Item, continued, input_items, page, to_item_list
from api.dialects.openai.response_object import (
    OutputItem,
    ResponseDeleted,
    ResponseFields,
    ResponseObject,
    StoredResponse,
    job_of,
    to_deleted,
    to_output,
    to_response,
    with_details,
)
from api.dialects.openai.responses import (
    INCLUDABLE,
    PICTURES,
    ResponseBody,
    ResponseTurn,
    from_response,
    references,
    response_of,
    with_items,
)
from api.openapi import examples
from api.openapi.document import INPUT_PAGE, RETRIEVAL, describe
from api.openapi.responses import JOB_HEADERS, answer, body, refusals, with_stream
from api.server.body import parse_body, read_body
from api.server.memory_budget import reserved
from api.server.reply import reply_of
from api.server.route import Json
from api.server.sse import EventStream, block, comment
from shared.errors import CallerError
from shared.job import Event, JobView
from shared.json_line import to_json
from shared.offload import offload_if_large
from shared.request import Image, Parameters, Request
from shared.result import Result

BEFORE_ALL = -1
"""Before the first event, whose number is 0."""


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


router = APIRouter(prefix="/v1/responses", tags=["openai"], responses=refusals("OpenAIError", 503))
ResponseCall = Annotated[ResponseTurn, Depends(read_turn)]
RESPONSE = answer("The response.", "response", headers=JOB_HEADERS)
RESPONSE_STREAMED = with_stream(RESPONSE, examples.RESPONSE_STREAM, ResponseEvent)


@router.post(
    "",
    summary="Ask for a response: whole, as a stream, or in the background.",
    response_model=ResponseObject,
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 504)
    | {200: RESPONSE_STREAMED},
    openapi_extra=body(ResponseBody, examples.RESPONSE),
)
async def create_response(
    http: HttpRequest, headers: SyncHeaders, turn: ResponseCall
) -> Json[ResponseObject] | EventStream[ResponseEvent]:
    terms = _terms(http, headers, turn)
    request = await _with_earlier_turns(context_of(http), terms, turn)
    fields = with_details(turn.fields, request)
    outline = fields.model_dump_json(exclude_defaults=True)
    call = SyncCall(http, replace(terms, origin=replace(terms.origin, response=outline)))
    job = await call.submit(request)
    # The answer may take minutes; free the pictures' memory.
    request = turn.request = request.without_bytes()
    response = StoredResponse(job, request, fields)
    # It is answered at once, whatever its model's state.
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


@router.post("/compact", include_in_schema=False)
@router.post("/input_tokens", include_in_schema=False)
async def refuse_call(http: HttpRequest) -> Response:
    """OpenAI's calls whose path would be taken for a response's id. Raises CallerError `not_found`."""
    message = f"POST {http.url.path} is not offered here; /openapi.json lists all paths."
    raise CallerError("not_found", message)


@router.get(
    "/{id}",
    summary="One response; with ?stream=true its events, from any number on.",
    response_model=ResponseObject,
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE_STREAMED},
    openapi_extra=describe(*RETRIEVAL),
)
async def get_response(http: HttpRequest, id: str) -> Json[ResponseObject] | EventStream[ResponseEvent]:
    query = http.query_params
    _include(http)
    streams = flag(query, "stream")
    flag(query, "include_obfuscation")
    if "starting_after" in query and not streams:
        raise CallerError("invalid_request", "starting_after needs stream=true.", param="starting_after")
    after = BEFORE_ALL
    if "starting_after" in query:
        after = integer("starting_after", query["starting_after"], largest=2**53)
    response = await _stored(http, id)
    set_job_headers(http, response.job)
    return replay(http, response, after) if streams else await write(response)


@router.delete(
    "/{id}",
    summary="Cancel a response if need be and forget it.",
    responses=refusals("OpenAIError", 404) | {200: answer("The response is forgotten.")},
)
async def delete_response(http: HttpRequest, id: str) -> Json[ResponseDeleted]:
    jobs, caller = context_of(http).jobs, caller_of(http).id
    job = await jobs.response(caller, job_of(id))
    await jobs.purge(caller, job.id)
    return Json(to_deleted(id))


@router.post(
    "/{id}/cancel",
    summary="Cancel a response in the background; harmless twice and after its end.",
    responses=refusals("OpenAIError", 400, 404, 410) | {200: RESPONSE},
)
async def cancel_response(http: HttpRequest, id: str) -> Json[ResponseObject]:
    response = await _stored(http, id)
    if not response.fields.background:
        message = "Only a response in the background is cancelled; any other ends when its call is hung up."
        raise CallerError("invalid_request", message)
    job = await context_of(http).jobs.cancel(response.job.caller, response.job.id)
    set_job_headers(http, job)
    return await write(readable_response(http, replace(response, job=job)))


@router.get(
    "/{id}/input_items",
    summary="What a response was asked, earlier turns among it, newest first.",
    responses=refusals("OpenAIError", 400, 404, 410, 413) | {200: answer("A page of its input.")},
    openapi_extra=describe(*INPUT_PAGE),
)
async def list_input_items(http: HttpRequest, id: str) -> Json[InputItemList]:
    query = http.query_params
    limit = page_limit(http)
    included = _include(http)
    response = await _stored(http, id)
    after = query.get("after")
    items, more = page(input_items(response), limit=limit, after=after, ascending=ascending(http))
    context = context_of(http)
    most = int(context.settings.pictures.max_mb_request * 2**20) if PICTURES in included else 0
    async with reserved(context.pages, caller_of(http).id, most):
        return Json(to_item_list(items, more, await _pictures(http, items) if most else {}))


async def _pictures(http: HttpRequest, items: list[Item]) -> dict[str, str]:
    """The items' pictures as data: URIs by digest. Raises CallerError `payload_too_large`.

    One that is shown several times counts as often.
    """
    context = context_of(http)
    limit_mb = context.settings.pictures.max_mb_request
    uris: dict[str, str] = {}
    size = 0
    parts = (part for item in items for part in item.turn.parts if isinstance(part, Image))
    for part in parts:
        if part.digest is None:
            continue
        if part.digest not in uris:
            uris[part.digest] = await context.jobs.picture(part)
        size += len(uris[part.digest])
        if size > limit_mb * 2**20:
            limit = f"{limit_mb:g} MiB (SIGHTLINE_PICTURES__MAX_MB_REQUEST)"
            message = f"What this page includes is larger than {limit}; ask for fewer items."
            raise CallerError("payload_too_large", message, param="limit")
    return uris


async def _stored(http: HttpRequest, id: str) -> StoredResponse:
    return await stored_response(context_of(http), caller_of(http).id, id)


def _include(http: HttpRequest) -> list[str]:
    """What `include` names; OpenAI's clients write `include[]`. Raises CallerError for unknown names."""
    query = http.query_params
    names = query.getlist("include") + query.getlist("include[]")
    for place, name in enumerate(names):
        if name not in INCLUDABLE:
            allowed = ", ".join(INCLUDABLE)
            raise CallerError("invalid_request", f"include takes {allowed}.", param=f"include[{place}]")
    return names


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
    """Return the result of the earlier response that this call continues.

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

    Raises CallerError `model_not_found`; for the response that it continues also `response_not_found`,
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
