"""Answers OpenAI's chat completions and completions, whole or streamed."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request
from pydantic_core import to_json

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
    ChunkWriter,
    Completion,
    to_completion,
)
from api.dialects.openai.completions import TextChunkWriter, TextCompletion, to_text_completion
from api.dialects.openai.usage import RunningUsage
from api.server.reply import reply_of
from api.server.route import Json
from api.server.sse import DONE, EventStream, block, comment
from shared.errors import CallerError
from shared.job import JobView
from shared.offload import offload_if_large

Answer = TypeVar("Answer")
Chunk = TypeVar("Chunk")


@dataclass(frozen=True)
class AnswerFormat(Generic[Answer, Chunk]):
    """How one of the two routes writes an answer, whole and in chunks."""

    to_answer: Callable[[JobView, str, int], Answer]
    writer: type[ChunkWriter[Chunk]]


CHAT = AnswerFormat[ChatCompletion, ChatCompletionChunk](to_completion, ChatChunkWriter)
TEXT = AnswerFormat[TextCompletion, TextCompletion](to_text_completion, TextChunkWriter)


async def complete(
    http: Request,
    headers: SyncHeaders,
    completion: Completion,
    format: AnswerFormat[Answer, Chunk],
    *,
    path_id: str | None = None,
) -> Json[Answer] | EventStream[Chunk]:
    """`path_id` is the model that the path names, used where the body names none.

    Empties the completion's requests: their pictures may be large, and the answer may take minutes.
    """
    context, requests = context_of(http), completion.requests
    if len(requests) > (limit := context.settings.api.prompts_limit):
        message = f"`prompt` takes up to {limit} texts; send the others in another call."
        raise CallerError("invalid_request", message, param="prompt")
    model = context.models.recall(requests[0].model, path_id=path_id)
    if requests[0].model != model.id:
        requests[:] = [request.model_copy(update={"model": model.id}) for request in requests]
    choices, tools = requests[0].parameters.n or 1, requests[0].tools
    call = SyncCall(http, _terms(http, headers, completion, hugging_face=path_id is not None))
    jobs = await call.submit(requests)
    requests.clear()
    if completion.stream:
        job = without_texts(jobs[0])
        must_call = tools is not None and tools.required
        writer = format.writer(job, usage=completion.include_usage, calls=must_call)
        blocks = _blocks(call, job, choices, writer, running_usage=completion.running_usage)
        return answer_stream(call, job, blocks)
    job = await call.answer(jobs)
    return await offload_if_large(
        lambda: Json(format.to_answer(job, model.id, job.created_ms // 1000)), job.bytes
    )


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
    choices: int,
    writer: ChunkWriter[Chunk],
    *,
    running_usage: bool,
) -> AsyncGenerator[bytes]:
    # Held back until the first event: until then an error still has its own HTTP status.
    opening = writer.opening(choices)
    counter = RunningUsage(opening) if running_usage else None
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


def _encoded(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(block(to_json(chunk)) for chunk in chunks)
