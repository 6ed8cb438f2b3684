"""Answers OpenAI's chat completions, whole or streamed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from fastapi import Request

from api.admission.headers import SyncHeaders
from api.admission.submission import Caching, Origin, Schedule, Terms
from api.answers.event_stream import answer_stream, follow_answer, without_texts
from api.answers.sync import SyncCall, ended_job, result_of
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.openai.chat import (
    ChatChunkWriter,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    to_completion,
)
from api.dialects.openai.usage import RunningUsage
from api.server.reply import reply_of
from api.server.route import Json
from api.server.sse import DONE, EventStream, block, comment
from shared.job import JobView
from shared.json_line import to_json
from shared.offload import offload_if_large
from shared.request import Request as CanonicalRequest


async def complete(
    http: Request,
    headers: SyncHeaders,
    completion: Completion,
    *,
    path_id: str | None = None,
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    """`path_id` is the model that the path names, used where the body names none."""
    call = SyncCall(http, _terms(http, headers, completion, hugging_face=path_id is not None))
    options = _options(completion)
    job = await call.submit(_take_request(http, completion, path_id))
    if options.stream:
        job = without_texts(job)
        writer = ChatChunkWriter(job, usage=options.include_usage, calls=options.must_call)
        return answer_stream(call, job, _blocks(call, job, options, writer))
    job = await call.answer(job)
    return await offload_if_large(
        lambda: Json(to_completion(job, job.model, job.created_ms // 1000)), job.bytes
    )


class AnswerOptions(NamedTuple):
    """How an answer is written; nothing of it is large."""

    stream: bool
    include_usage: bool
    running_usage: bool
    choices: int
    must_call: bool


def _options(completion: Completion) -> AnswerOptions:
    request = completion.request
    must_call = request.tools is not None and request.tools.required
    usage = bool(completion.options.include_usage), completion.options.running_usage
    return AnswerOptions(completion.stream, *usage, request.parameters.n or 1, must_call)


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
        caching=Caching(headers.use_cache, reuse_sampled=hugging_face, stored=completion.stored),
        schedule=Schedule(completion.priority, must_be_ready=not headers.wait_for_model),
        origin=Origin(reply_of(http).request_id),
        metadata=completion.metadata,
        synchronous=True,
        cached="texts" if completion.stream else "whole",
    )


async def _blocks(
    call: SyncCall,
    job: JobView,
    options: AnswerOptions,
    writer: ChatChunkWriter,
) -> AsyncGenerator[bytes]:
    # Held back until the first event: until then an error still has its own HTTP status.
    opening = writer.opening(options.choices)
    counter = RunningUsage(opening) if options.running_usage else None
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
