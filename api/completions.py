"""Answering in OpenAI's two forms, whole or streamed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from api import strict_json
from api.answering import answer, may_leave, result_of, submit
from api.body import read_body, translated
from api.context import ProcessContext, context_of
from api.dialects import openai_chat, openai_completions
from api.dialects.openai_chat import Chat, ChunkHead
from api.following import follow_answer
from api.preferences import terms as terms_of
from api.preferences import waits_for_model
from api.sse import DONE, EventStream, block, comment
from api.submission import Terms
from shared.job import JobView
from shared.logprobs import Logprobs, logprobs_of
from shared.result import FinishReason, Usage


@dataclass(frozen=True)
class Form:
    """One dialect's functions under common names."""

    read: Callable[[Any], Chat]
    id: Callable[[JobView], str]
    whole: Callable[[JobView, str, int], dict[str, Any]]
    opening: Callable[[ChunkHead], tuple[dict[str, Any], ...]]
    piece: Callable[[ChunkHead, str, Logprobs | None], dict[str, Any]]
    finish: Callable[[ChunkHead, FinishReason], dict[str, Any]]
    usage: Callable[[ChunkHead, Usage], dict[str, Any]]


CHAT = Form(
    read=openai_chat.from_chat,
    id=openai_chat.completion_id,
    whole=openai_chat.to_completion,
    opening=lambda head: (openai_chat.first_chunk(head),),
    piece=openai_chat.delta_chunk,
    finish=openai_chat.finish_chunk,
    usage=openai_chat.usage_chunk,
)
TEXT = Form(
    read=openai_completions.from_completion,
    id=openai_completions.text_completion_id,
    whole=openai_completions.to_text_completion,
    opening=lambda _: (),
    piece=openai_completions.text_chunk,
    finish=openai_completions.text_finish_chunk,
    usage=openai_completions.text_usage_chunk,
)


async def complete(request: Request, form: Form, *, path_id: str | None = None) -> Response:
    """Answer a call in `form`; `path_id` is the model the path names, used where the body names none."""
    context = context_of(request)
    body = await read_body(request, context.settings.api)
    asked = await translated(body, lambda raw: form.read(strict_json.parse(raw)))
    model = context.models.resolve(asked.request.model, path_id=path_id)
    question = asked.request.model_copy(update={"model": model.id})
    said = terms_of(request, body)
    terms = replace(
        said,
        # Under a model's own URL this is one of Hugging Face's routes.
        hf=path_id is not None,
        metadata=asked.metadata,
        must_be_ready=not waits_for_model(request),
    )
    view = await submit(request, context, question, terms)
    if asked.stream:
        left = partial(context.leaving.left, view) if may_leave(terms) else None
        blocks = _blocks(request, context, view, terms, form, include_usage=asked.include_usage)
        return EventStream(blocks, head_start_s=context.settings.api.head_start_s, left=left)
    ended = await answer(request, context, view, terms)
    return Response(
        to_json(form.whole(ended, model.id, ended.created_ms // 1000)), media_type="application/json"
    )


async def _blocks(
    request: Request, context: ProcessContext, view: JobView, terms: Terms, form: Form, *, include_usage: bool
) -> AsyncGenerator[bytes]:
    head = ChunkHead(form.id(view), view.model, view.created_ms // 1000, include_usage)
    # Held back until there is something to say: until then an error has its own status.
    opening = b"".join(_data(chunk) for chunk in form.opening(head))
    async with aclosing(follow_answer(request, context, view, terms)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.type == "text":
                yield opening + _data(form.piece(head, event.data["text"], logprobs_of(event.data)))
                opening = b""
            elif event.last:
                result = result_of(await context.jobs.get(view.caller, view.id))
                usage = _data(form.usage(head, result.usage)) if include_usage else b""
                yield opening + _data(form.finish(head, result.choices[0].finish_reason)) + usage + DONE


def _data(chunk: dict[str, Any]) -> bytes:
    return block(to_json(chunk))
