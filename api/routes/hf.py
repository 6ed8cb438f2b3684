"""Routes of Hugging Face: a model's own URL, and the bare root that its clients use as an endpoint."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from api.access.callers import caller_of
from api.admission.preferences import preferences, waits_for_model
from api.admission.preferences import terms as terms_of
from api.admission.submission import Terms
from api.answers.answering import answer, forget_behind, may_leave, result_of, submit, wait_as_preferred
from api.answers.completions import CHAT, TEXT, complete
from api.answers.following import follow, follow_answer, streamed
from api.context import ProcessContext, context_of
from api.description import examples
from api.description.answers import ACCEPTED, CHAT_ANSWER, TASK_ANSWER, TEXT_ANSWER
from api.description.openapi import describe
from api.description.parameters import PREFER, SYNCHRONOUS
from api.description.responses import Responses, refusals
from api.dialects.hf import HfCall, from_bytes
from api.dialects.hf_answers import last_chunk, to_answer, token_chunk
from api.dialects.hf_body import HfBody
from api.dialects.openai_chat import ChatBody
from api.dialects.openai_completions import CompletionBody
from api.routes.jobs import accepted
from api.wire.body import read_body
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from api.wire.reading import translated
from api.wire.sse import EventStream, block, comment
from shared.bulk import made
from shared.job import Event, JobView

REFUSALS = refusals("HuggingFaceError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504)
ANSWERS: Responses = {200: TASK_ANSWER, 202: ACCEPTED}
ASKED = describe(
    HfBody,
    PREFER,
    *SYNCHRONOUS,
    example=examples.HF,
    picture=True,
)

router = APIRouter(route_class=PlainRoute, tags=["hugging face"], responses=REFUSALS)
root_router = APIRouter(route_class=PlainRoute, tags=["hugging face"], responses=REFUSALS | ANSWERS)


@router.post(
    "/models/{id:model}/v1/chat/completions",
    summary="Chat with the model of the path.",
    responses={200: CHAT_ANSWER},
    openapi_extra=describe(ChatBody, *SYNCHRONOUS, example=examples.MESSAGES),
)
async def model_chat(request: Request, id: str) -> Response:
    return await complete(request, CHAT, path_id=id)


@router.post(
    "/models/{id:model}/v1/completions",
    summary="Continue a text with the model of the path.",
    responses={200: TEXT_ANSWER},
    openapi_extra=describe(CompletionBody, *SYNCHRONOUS, example=examples.PROMPT),
)
async def model_completions(request: Request, id: str) -> Response:
    return await complete(request, TEXT, path_id=id)


@router.post("/models/{id:model}/v1", include_in_schema=False)
@router.post(
    "/models/{id:model}",
    summary="Ask the model: JSON in any of its task's forms, or a picture's bytes.",
    responses=ANSWERS,
    openapi_extra=ASKED,
)
async def ask_model(request: Request, id: str) -> Response:
    return await _ask(request, id)


# huggingface_hub posts to its base URL as it was given.
@root_router.post("/", summary="Ask the default model.", openapi_extra=ASKED)
@root_router.post("/v1", include_in_schema=False)
async def ask_default_model(request: Request) -> Response:
    return await _ask(request, context_of(request).models.first.id)


async def _ask(request: Request, path_id: str) -> Response:
    context = context_of(request)
    body = await read_body(request, context.settings.api)
    model = context.models.recall(None, path_id=path_id)
    kind = request.headers.get("content-type")
    call = await translated(caller_of(request).id, body, lambda raw: from_bytes(raw, kind, model.id))
    said = terms_of(request, body)
    use_cache = said.use_cache and call.use_cache is not False
    terms = replace(said, hf=True, prompt=True, use_cache=use_cache, stored=call.stored)
    preferred = preferences(request)
    if not preferred.respond_async:
        waits = waits_for_model(request) or call.wait_for_model
        terms = replace(terms, must_be_ready=not waits, quiet=True)
    view = await submit(request, context, call.request, terms)
    # The answer may take minutes; free the body's memory.
    del body
    call = replace(call, request=call.request.without_bytes())
    if preferred.respond_async:
        view = await wait_as_preferred(request, context, view)
        if not (view.ended and preferred.wait_s):
            return await accepted(view)
    if call.stream:
        view = streamed(view)
        left = partial(context.leaving.left, view) if may_leave(terms) else None
        blocks = _blocks(request, context, view, terms, call)
        return EventStream(blocks, head_start_s=context.settings.api.head_start_s, left=left)
    ended = await answer(request, context, view, terms)
    said_by = request.headers.get("user-agent")
    ids = await _token_ids(request, context, ended) if call.details else []
    return await made(lambda: json_answer(to_answer(ended, call, said_by, ids)), ended.bytes)


async def _token_ids(request: Request, context: ProcessContext, view: JobView) -> list[int]:
    """The token ids of an ended job's only answer; only its stream has them."""
    async with aclosing(follow(request, context, view)) as events:
        texts = [e async for e in events if isinstance(e, Event) and e.type == "text"]
    return [id for event in texts for id in event.data["ids"]]


async def _blocks(
    request: Request, context: ProcessContext, view: JobView, terms: Terms, call: HfCall
) -> AsyncGenerator[bytes]:
    index = 1
    async with aclosing(follow_answer(request, context, view, terms)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.type == "text":
                yield block(to_json(token_chunk(event, index)))
                index += 1
            elif event.last:
                ended = await context.jobs.get(view.caller, view.id)
                forget_behind(request, ended)
                result_of(ended)
                last = block(to_json(last_chunk(ended, index, call)))
                del ended
                yield last
