"""Routes of Hugging Face: a model's own URL, and the bare root that its clients use as an endpoint."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from api.admission.headers import preferences, waits_for_model
from api.admission.headers import terms as terms_of
from api.admission.readiness import ModelState, not_ready
from api.admission.submission import Terms
from api.answers.completions import CHAT, TEXT, complete
from api.answers.event_stream import follow, follow_answer, streamed
from api.answers.sync import answer, forget_behind, may_leave, result_of, submit, wait_as_preferred
from api.auth.callers import caller_of
from api.context import ProcessContext, context_of
from api.dialects.hf.task_answers import last_chunk, to_answer, token_chunk
from api.dialects.hf.task_requests import HfBody, HfCall, from_bytes
from api.dialects.openai.chat import ChatBody
from api.dialects.openai.completions import CompletionBody
from api.openapi import examples
from api.openapi.document import PREFER, SYNCHRONOUS, describe
from api.openapi.responses import (
    ACCEPTED,
    CHAT_ANSWER,
    MODEL_HEALTH,
    MODEL_INFO,
    MODEL_STATUS,
    TASK_ANSWER,
    TEXT_ANSWER,
    Responses,
    refusals,
)
from api.routes.jobs import accepted
from api.server.body import read_body, translated
from api.server.route import PlainRoute, json_answer
from api.server.sse import EventStream, block, comment
from shared.job import Event, JobView
from shared.models import Model
from shared.offload import offload_if_large

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
    return await offload_if_large(lambda: json_answer(to_answer(ended, call, said_by, ids)), ended.bytes)


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


# Routes that Hugging Face's clients call to learn about a model before they ask it a question.

INFO_REFUSALS = refusals("HuggingFaceError", 404, 503)

info_router = APIRouter(route_class=PlainRoute, tags=["hugging face"], responses=INFO_REFUSALS)

_STATES = {"ready": "Loaded", "loading": "Loadable", "no_worker": "Loadable", "failed": "error"}


@info_router.get(
    "/models/{id:model}/health",
    summary="200 when the model is loaded and answers.",
    responses=refusals("HuggingFaceError", 500) | {200: MODEL_HEALTH},
)
async def model_health(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    if state.standing != "ready":
        raise not_ready(model, state)
    return json_answer({"status": "ready"})


@info_router.get(
    "/models/{id:model}", summary="What the model is and how it stands.", responses={200: MODEL_INFO}
)
@info_router.get(
    "/models/{id:model}/info", summary="What the model is and how it stands.", responses={200: MODEL_INFO}
)
async def model_info(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    return json_answer(to_info(model, state))


@info_router.get("/info", summary="What the first model is and how it stands.", responses={200: MODEL_INFO})
async def default_info(request: Request) -> Response:
    return await model_info(request, context_of(request).models.first.id)


@info_router.get(
    "/status/{id:path}",
    summary="Whether the model is loaded, in the words of the former HF API.",
    responses={200: MODEL_STATUS},
)
async def model_status(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    return json_answer(to_status(model, state))


def to_info(model: Model, state: ModelState) -> dict[str, Any]:
    """TGI's endpoint information, as far as it fits, and the model's queue."""
    return {
        "model_id": model.id,
        "model_sha": model.revision,
        "model_dtype": model.dtype,
        "model_device_type": model.device,
        "state": state.standing,
        "workers": state.lane.ready + state.lane.loading,
        "queued": state.lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
    }


def to_status(model: Model, state: ModelState) -> dict[str, Any]:
    return {
        "loaded": state.lane.state == "ready",
        "state": _STATES[state.lane.state],
        "compute_type": model.device,
        "framework": "transformers",
        "workers": state.lane.ready + state.lane.loading,
        "queued": state.lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
        "reason": state.lane.failed,
        "engine": state.lane.engine,
        "engine_reason": state.lane.engine_reason,
        "reused": None if state.lane.reused is None else asdict(state.lane.reused),
        "paused": state.lane.paused,
        "draining": state.lane.draining,
        "calibration": None if state.lane.calibration is None else asdict(state.lane.calibration),
    }


async def _state(request: Request, name: str) -> tuple[Model, ModelState]:
    context = context_of(request)
    model = context.models.resolve(name)
    return model, await context.jobs.model_state(model)
