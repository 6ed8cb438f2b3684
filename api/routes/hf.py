"""Routes of Hugging Face: a model's own URL, the bare root that its clients use as an endpoint, and what they
ask about a model before.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request

from api.admission.headers import Preferences, SyncHeaders
from api.admission.readiness import not_ready
from api.admission.submission import Origin, Terms
from api.answers.event_stream import answer_stream, follow_answer, follow_job, without_texts
from api.answers.sync import SyncCall, ended_job, result_of, wait_as_preferred
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.hf.task_answers import TaskAnswer, TokenChunk, last_chunk, to_answer, token_chunk
from api.dialects.hf.task_requests import HfBody, HfCall, from_bytes
from api.dialects.native.jobs import Job
from api.dialects.native.models import ModelHealth, ModelInfo, ModelState, ModelStatus, to_info, to_status
from api.dialects.openai.chat import ChatBody, ChatCompletion, ChatCompletionChunk
from api.openapi import examples
from api.openapi.document import BYTES
from api.openapi.responses import ACCEPTED, CHAT_ANSWER, TASK_ANSWER, Responses, answer, body, refusals
from api.routes.completions import ChatCall, complete
from api.routes.jobs import accepted
from api.server.body import parse_body, read_body
from api.server.reply import reply_of
from api.server.route import Json
from api.server.sse import EventStream, block, comment
from shared.job import Event, JobView
from shared.json_line import to_json
from shared.models import Model
from shared.offload import offload_if_large
from shared.tool_calls.thoughts import SpokenTexts


async def read_task(http: Request) -> HfCall:
    """Return the call in a body, which need not be JSON. Raises as `read_body` and `from_bytes`."""
    kind, raw = http.headers.get("content-type"), await read_body(http)
    return await parse_body(http, raw, lambda raw: from_bytes(raw, kind))


TaskCall = Annotated[HfCall, Depends(read_task)]
REFUSALS = refusals("HuggingFaceError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504)
TASK_ANSWERS: Responses = {200: TASK_ANSWER, 202: ACCEPTED | {"model": Job}}
TASK_BODY = body(HfBody, examples.HF, BYTES)
INFO = answer("The model and the line before it.")

router = APIRouter(tags=["hugging face"], responses=REFUSALS)
root_router = APIRouter(tags=["hugging face"], responses=REFUSALS | TASK_ANSWERS)
info_router = APIRouter(
    tags=["hugging face"],
    responses=refusals("HuggingFaceError", 404, 503),
)


@router.post(
    "/models/{id:model}/v1/chat/completions",
    summary="Chat with the model of the path.",
    response_model=ChatCompletion,
    responses={200: CHAT_ANSWER},
    openapi_extra=body(ChatBody, examples.MESSAGES),
)
async def model_chat(
    http: Request, headers: SyncHeaders, chat: ChatCall, id: str
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    return await complete(http, headers, chat, path_id=id)


@router.post("/models/{id:model}/v1", response_model=None, include_in_schema=False)
@router.post(
    "/models/{id:model}",
    summary="Ask the model: JSON in any of its task's forms, or a picture's bytes.",
    response_model=TaskAnswer,
    responses=TASK_ANSWERS,
    openapi_extra=TASK_BODY,
)
async def ask_model(
    http: Request, headers: SyncHeaders, call: TaskCall, id: str
) -> Json[TaskAnswer] | EventStream[TokenChunk] | Json[Job]:
    return await _ask(http, headers, call, id)


# huggingface_hub posts to its base URL as it was given.
@root_router.post("/", summary="Ask the default model.", response_model=TaskAnswer, openapi_extra=TASK_BODY)
@root_router.post("/v1", response_model=None, include_in_schema=False)
async def ask_default_model(
    http: Request, headers: SyncHeaders, call: TaskCall
) -> Json[TaskAnswer] | EventStream[TokenChunk] | Json[Job]:
    return await _ask(http, headers, call, context_of(http).models.first.id)


async def _ask(
    http: Request, headers: SyncHeaders, call: HfCall, path_id: str
) -> Json[TaskAnswer] | EventStream[TokenChunk] | Json[Job]:
    context, preferences = context_of(http), headers.preferences
    model = context.models.recall(call.request.model or None, path_id=path_id)
    sync_call = SyncCall(http, _terms(http, headers, call, preferences))
    job = await sync_call.submit(call.request.for_model(model.id))
    if not job.ended:
        # The answer may take minutes; free the pictures' memory.
        call.request = call.request.without_bytes()
    if preferences.respond_async:
        job = await wait_as_preferred(http, job, preferences)
        if not (job.ended and preferences.wait_s):
            return await accepted(job)
    if call.stream:
        job = without_texts(job)
        return answer_stream(sync_call, job, _blocks(sync_call, job, call))
    ended = await sync_call.answer(job)
    user_agent = http.headers.get("user-agent")
    ids = await _token_ids(http, ended) if call.details else []
    return await offload_if_large(lambda: Json(to_answer(ended, call, user_agent, ids)), ended.bytes)


def _terms(http: Request, headers: SyncHeaders, call: HfCall, preferences: Preferences) -> Terms:
    synchronous = not preferences.respond_async
    waits = headers.wait_for_model or call.wait_for_model
    use_cache = headers.use_cache and call.use_cache
    # Only the texts have the tokens' ids.
    cached: Literal["whole", "texts"] = "texts" if call.stream or call.details else "whole"
    return Terms(
        caller=caller_of(http),
        idempotency=headers.idempotency(http),
        use_cache=use_cache,
        reuse_sampled=True,
        stored=call.stored,
        must_be_ready=synchronous and not waits,
        origin=Origin(reply_of(http).request_id),
        synchronous=synchronous,
        cached=cached if synchronous else None,
    )


async def _token_ids(http: Request, job: JobView) -> list[int]:
    """The token ids of an ended job's only answer; only its stream has them."""
    async with aclosing(follow_job(http, job)) as events:
        texts = [e async for e in events if isinstance(e, Event) and e.type == "text"]
    return [id for event in texts for id in event.data["ids"]]


async def _blocks(sync_call: SyncCall, job: JobView, call: HfCall) -> AsyncGenerator[bytes]:
    index, spoken = 1, SpokenTexts()
    async with aclosing(follow_answer(sync_call, job)) as events:
        async for event in events:
            if isinstance(event, str):
                yield comment(event)
            elif event.type == "text":
                yield block(to_json(token_chunk(spoken.read(event.data), index)))
                index += 1
            elif event.last:
                ended = await ended_job(sync_call.http, job)
                result_of(ended)
                last = block(to_json(last_chunk(ended, index, call)))
                # Only the encoded part is in memory while a slow reader takes it.
                del ended
                yield last


@info_router.get(
    "/models/{id:model}/health",
    summary="200 when the model is loaded and answers.",
    responses=refusals("HuggingFaceError", 500) | {200: answer("It is loaded.")},
)
async def model_health(http: Request, id: str) -> Json[ModelHealth]:
    model, state = await _state(http, id)
    if state.standing != "ready":
        raise not_ready(model, state)
    return Json({"status": "ready"})


@info_router.get("/models/{id:model}", summary="What the model is and how it stands.", responses={200: INFO})
@info_router.get(
    "/models/{id:model}/info", summary="What the model is and how it stands.", responses={200: INFO}
)
async def model_info(http: Request, id: str) -> Json[ModelInfo]:
    return Json(to_info(*await _state(http, id)))


@info_router.get("/info", summary="What the first model is and how it stands.", responses={200: INFO})
async def default_info(http: Request) -> Json[ModelInfo]:
    return Json(to_info(*await _state(http, context_of(http).models.first.id)))


@info_router.get(
    "/status/{id:path}",
    summary="Whether the model is loaded, in the words of the former HF API.",
    responses={200: answer("How the model stands.")},
)
async def model_status(http: Request, id: str) -> Json[ModelStatus]:
    return Json(to_status(*await _state(http, id)))


async def _state(http: Request, name: str) -> tuple[Model, ModelState]:
    context = context_of(http)
    model = context.models.resolve(name)
    return model, await context.jobs.model_state(model)
