"""The route of OpenAI's chat completions, which answers in the same call."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Request

from api.admission.headers import SyncHeaders
from api.admission.submission import Origin, Terms
from api.answers.event_stream import answer_stream, follow_answer, without_texts
from api.answers.sync import SyncCall, ended_job, result_of
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.openai.chat import (
    ChatBody,
    ChatChunkWriter,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    from_chat,
    to_completion,
)
from api.dialects.openai.usage import RunningUsage
from api.openapi import examples
from api.openapi.responses import CHAT_ANSWER, body, refusals
from api.server.reply import reply_of
from api.server.route import Json, json_body
from api.server.sse import DONE, EventStream, block, comment
from shared.job import JobView
from shared.json_line import to_json
from shared.offload import offload_if_large
from shared.request import Request as CanonicalRequest

ChatCall = Annotated[Completion, json_body(from_chat)]

router = APIRouter(
    tags=["openai"],
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504),
)


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures; the answer is whole or a stream.",
    response_model=ChatCompletion,
    responses={200: CHAT_ANSWER},
    openapi_extra=body(ChatBody, examples.CHAT),
)
async def chat_completions(
    http: Request, headers: SyncHeaders, chat: ChatCall
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    return await complete(http, headers, chat)


async def complete(
    http: Request,
    headers: SyncHeaders,
    completion: Completion,
    *,
    path_id: str | None = None,
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    """`path_id` is the model that the path names, used where the body names none."""
    call = SyncCall(http, _terms(http, headers, completion, hugging_face=path_id is not None))
    job = await call.submit(_take_request(http, completion, path_id))
    if not completion.stream:
        job = await call.answer(job)
        return await offload_if_large(lambda: Json(to_completion(job)), job.bytes)
    job, options, tools = without_texts(job), completion.options, completion.request.tools
    must_call = tools is not None and tools.required
    writer = ChatChunkWriter(job, usage=bool(options.include_usage), calls=must_call)
    # Held back until the first event: until then an error still has its own HTTP status.
    opening = writer.opening(completion.request.parameters.n or 1)
    counter = RunningUsage(opening) if options.running_usage else None
    return answer_stream(call, job, _blocks(call, job, writer, opening, counter))


def _take_request(http: Request, completion: Completion, path_id: str | None) -> CanonicalRequest:
    """The request with its model's id, its pictures taken out of the completion: they may be large, and the
    answer may take minutes.

    Raises CallerError `model_not_found`.
    """
    request = completion.request
    completion.request = request.without_bytes()
    return request.for_model(context_of(http).models.recall(request.model, path_id=path_id).id)


def _terms(http: Request, headers: SyncHeaders, completion: Completion, *, hugging_face: bool) -> Terms:
    return Terms(
        caller=caller_of(http),
        idempotency=headers.idempotency(http),
        use_cache=headers.use_cache,
        reuse_sampled=hugging_face,
        stored=completion.stored,
        priority=completion.priority,
        must_be_ready=not headers.wait_for_model,
        origin=Origin(reply_of(http).request_id),
        metadata=completion.metadata,
        synchronous=True,
        cached="texts" if completion.stream else "whole",
    )


async def _blocks(
    call: SyncCall,
    job: JobView,
    writer: ChatChunkWriter,
    opening: list[ChatCompletionChunk],
    counter: RunningUsage | None,
) -> AsyncGenerator[bytes]:
    async with aclosing(follow_answer(call, job)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.type == "text":
                chunks = writer.piece(event.data)
                chunks = counter.piece(event.data, chunks) if counter else [*opening, *chunks]
                opening = []
                yield _encoded(chunks) or comment("")
            elif event.last:
                chunks = writer.ending(result_of(await ended_job(call.http, job)))
                chunks = counter.ending(chunks) if counter else [*opening, *chunks]
                yield _encoded(chunks) + DONE


def _encoded(chunks: Sequence[ChatCompletionChunk]) -> bytes:
    return b"".join(block(to_json(chunk)) for chunk in chunks)
