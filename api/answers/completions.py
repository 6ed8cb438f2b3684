"""Answers OpenAI's chat completions and completions, whole or streamed."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from pydantic_core import to_json

from api.access.callers import caller_of
from api.admission.preferences import terms as terms_of
from api.admission.preferences import waits_for_model
from api.admission.submission import Terms
from api.answers.answering import leave, may_leave, result_of
from api.answers.following import streamed
from api.answers.interleaving import follow_all
from api.answers.together import answer_all, ended_all, submit_all
from api.context import ProcessContext, context_of
from api.dialects import openai_chat, openai_completions, strict_json
from api.dialects.completion_streams import ChatStream, Counting, Stream, TextStream
from api.dialects.openai_chat import Chat
from api.wire.body import read_body
from api.wire.json_answer import json_answer
from api.wire.reading import translated
from api.wire.sse import DONE, EventStream, block, comment
from shared.bulk import made
from shared.job import JobView


@dataclass(frozen=True)
class CompletionDialect:
    """One dialect's functions under common names."""

    read: Callable[[Any], Chat]
    whole: Callable[[JobView, str, int], dict[str, Any]]
    stream: type[Stream]


CHAT = CompletionDialect(read=openai_chat.from_chat, whole=openai_chat.to_completion, stream=ChatStream)
TEXT = CompletionDialect(
    read=openai_completions.from_completion, whole=openai_completions.to_text_completion, stream=TextStream
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
    return await made(lambda: json_answer(dialect.whole(ended, model.id, created)), ended.bytes)


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
