"""Routes for operators: what they did, what waits and who works, API keys, models."""

import time
from typing import Annotated

from fastapi import APIRouter, Request, Response

from api.admission.checks import webhook_host
from api.admission.headers import integer
from api.auth.callers import log_action, operator_of
from api.context import context_of
from api.dialects.native.admin import (
    ApiKey,
    ApiKeyList,
    BadRecordList,
    KeyBody,
    ModelBody,
    NewApiKey,
    NewKeyWebhook,
    RotationBody,
    SeriesAnswer,
    StoreFilling,
    from_key,
    from_rotation,
    from_row,
    to_bad_records,
    to_filling,
    to_key,
    to_key_list,
    to_key_webhook,
    to_new_key,
    to_series,
)
from api.dialects.native.models import Fleet, Model, to_couriers, to_model, to_model_fleet
from api.dialects.webhooks import KeyWebhookBody, from_key_webhook
from api.openapi import examples
from api.openapi.document import MINUTES, describe
from api.openapi.responses import answer, body, refusals
from api.routes.health import store_memory
from api.routes.models import MODEL_ANSWER
from api.server.route import Json, json_body
from shared import api_keys, ids, models
from shared.metrics.series import LONGEST_MIN
from shared.store import maintenance
from shared.store.metrics import series
from shared.webhooks import DefaultWebhook

KeyCall = Annotated[
    api_keys.ApiKey,
    json_body(lambda body: from_key(body, ids.key_id(), time.time_ns() // 10**6)),
]
RotationCall = Annotated[int, json_body(from_rotation, optional=True)]
ModelCall = Annotated[models.Model, json_body(from_row)]
WebhookCall = Annotated[DefaultWebhook, json_body(from_key_webhook)]
NEW_KEY = answer("The key with its secret.")
KEY_WEBHOOK = answer("The key, with the secret of its webhooks if it is new.")

fleet_router = APIRouter(tags=["admin"], responses=refusals("OpenAIError", 503))


@fleet_router.get(
    "/v1/admin/fleet",
    summary="Every model's line and workers, and the couriers with what waits for them.",
    responses={200: answer("What waits and who works.")},
)
async def fleet(http: Request) -> Json[Fleet]:
    context = context_of(http)
    rows = context.models.rows
    fleets = zip(rows, await context.jobs.fleet(rows), strict=True)
    couriers = to_couriers(*await context.jobs.couriers())
    return Json({"models": [to_model_fleet(row, state) for row, state in fleets], "couriers": couriers})


@fleet_router.get(
    "/v1/admin/series",
    summary="The last minutes of every model, in steps of ten seconds.",
    responses=refusals("OpenAIError", 400) | {200: answer("The moments, the oldest first.")},
    openapi_extra=describe(MINUTES),
)
async def model_series(http: Request) -> Json[SeriesAnswer]:
    context = context_of(http)
    minutes = integer(
        "minutes", http.query_params.get("minutes", str(LONGEST_MIN)), largest=LONGEST_MIN, least=1
    )
    now_ms, samples = await context.store.run(series())
    return Json(to_series(samples, context.models.rows, now_ms, minutes))


@fleet_router.get(
    "/v1/admin/store",
    summary="What fills the record store, and the callers who hold most.",
    responses={200: answer("What fills it.")},
)
async def store_filling(http: Request) -> Json[StoreFilling]:
    context = context_of(http)
    charges = await context.headroom.charges()
    return Json(to_filling(await store_memory(context), charges.most))


@fleet_router.get(
    "/v1/admin/records",
    summary="Records that could not be read, each with the reason; 1,000 at most.",
    responses={200: answer("The records.")},
)
async def list_bad_records(http: Request) -> Json[BadRecordList]:
    reasons = await context_of(http).store.run(maintenance.bad_records())
    return Json(to_bad_records(reasons))


@fleet_router.delete(
    "/v1/admin/records/{id:path}",
    status_code=204,
    summary="Forget a record that could not be read; harmless twice.",
    responses={204: answer("There is none by this id any more.")},
)
async def forget_bad_record(http: Request, id: str) -> Response:
    was_listed = await context_of(http).store.run(maintenance.forget(id))
    log_action(operator_of(http), "record.forget", id, found=was_listed)
    return Response(status_code=204)


keys_router = APIRouter(
    prefix="/v1/admin/keys",
    tags=["admin"],
    responses=refusals("OpenAIError", 503),
)


@keys_router.post(
    "",
    status_code=201,
    summary="Make a key; its secret is shown now and never again.",
    responses=refusals("OpenAIError", 400) | {201: NEW_KEY},
    openapi_extra=body(KeyBody, examples.KEY),
)
async def create_key(http: Request, key: KeyCall) -> Json[NewApiKey]:
    created, secret = await context_of(http).api_keys.create(operator_of(http), key)
    return Json(to_new_key(created, secret), 201)


@keys_router.get("", summary="List the keys, newest first.", responses={200: answer("The keys.")})
async def list_keys(http: Request) -> Json[ApiKeyList]:
    return Json(to_key_list(await context_of(http).api_keys.list()))


@keys_router.post(
    "/{id}/rotate",
    summary="Give a key a new secret; the former one goes on for `grace_s`.",
    responses=refusals("OpenAIError", 400, 404) | {200: NEW_KEY},
    openapi_extra=body(RotationBody, examples.ROTATION),
)
async def rotate_key(http: Request, id: str, grace_s: RotationCall) -> Json[NewApiKey]:
    key, secret = await context_of(http).api_keys.rotate(operator_of(http), id, grace_s)
    return Json(to_new_key(key, secret))


@keys_router.put(
    "/{id}/webhook",
    summary="Set the default webhook of a key: for its jobs and batches that name none.",
    responses=refusals("OpenAIError", 400, 404) | {200: KEY_WEBHOOK},
    openapi_extra=body(KeyWebhookBody, examples.KEY_WEBHOOK),
)
async def set_key_webhook(http: Request, id: str, webhook: WebhookCall) -> Json[NewKeyWebhook]:
    context = context_of(http)
    host = webhook_host(webhook.url, context.settings, "url")
    return Json(to_key_webhook(*await context.api_keys.set_webhook(operator_of(http), id, webhook, host)))


@keys_router.post(
    "/{id}/webhook/rotate",
    summary="Give a key's webhooks a new secret; the former one signs as well for `grace_s`.",
    responses=refusals("OpenAIError", 400, 404) | {200: KEY_WEBHOOK},
    openapi_extra=body(RotationBody, examples.ROTATION),
)
async def rotate_key_webhook(http: Request, id: str, grace_s: RotationCall) -> Json[NewKeyWebhook]:
    keys = context_of(http).api_keys
    return Json(to_key_webhook(*await keys.rotate_webhook(operator_of(http), id, grace_s)))


@keys_router.delete(
    "/{id}/webhook",
    summary="End a key's default webhook, with its secret and waiting deliveries.",
    responses=refusals("OpenAIError", 404) | {200: answer("The key.")},
)
async def delete_key_webhook(http: Request, id: str) -> Json[ApiKey]:
    return Json(to_key(await context_of(http).api_keys.delete_webhook(operator_of(http), id)))


@keys_router.delete(
    "/{id}",
    summary="Revoke a key and its former secret; harmless twice.",
    responses=refusals("OpenAIError", 404) | {200: answer("The key.")},
)
async def revoke_key(http: Request, id: str) -> Json[ApiKey]:
    return Json(to_key(await context_of(http).api_keys.revoke(operator_of(http), id)))


models_router = APIRouter(
    prefix="/v1/admin/models",
    tags=["admin"],
    responses=refusals("OpenAIError", 404, 503) | {204: answer("It is so from now on.")},
)


@models_router.post(
    "",
    status_code=201,
    summary="Serve a model that no models file names, or one that was removed; 200 where it is served.",
    responses=refusals("OpenAIError", 400, 409) | {200: MODEL_ANSWER | {"model": Model}, 201: MODEL_ANSWER},
    openapi_extra=body(ModelBody, examples.ROW),
)
async def add_model(http: Request, model: ModelCall) -> Json[Model]:
    context = context_of(http)
    added = await context.serving.add(operator_of(http), model)
    return Json(to_model(model, context.settings), 201 if added else 200)


@models_router.post(
    "/{id:path}/pause", status_code=204, summary="Begin none of a model's jobs; what runs finishes."
)
async def pause_model(http: Request, id: str) -> Response:
    await context_of(http).serving.change(operator_of(http), id, "pause")
    return Response(status_code=204)


@models_router.post(
    "/{id:path}/resume",
    status_code=204,
    summary="Begin a paused model's jobs again; take new ones for a drained one.",
)
async def resume_model(http: Request, id: str) -> Response:
    await context_of(http).serving.change(operator_of(http), id, "resume")
    return Response(status_code=204)


@models_router.post(
    "/{id:path}/drain", status_code=204, summary="Take no new jobs for a model; those that wait go on."
)
async def drain_model(http: Request, id: str) -> Response:
    await context_of(http).serving.change(operator_of(http), id, "drain")
    return Response(status_code=204)


@models_router.delete(
    "/{id:path}",
    status_code=204,
    summary="Serve a model no more: jobs that wait for it fail with model_removed, those that run finish.",
)
async def remove_model(http: Request, id: str) -> Response:
    await context_of(http).serving.remove(operator_of(http), id)
    return Response(status_code=204)
