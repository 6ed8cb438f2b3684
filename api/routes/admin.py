"""Route that lists what operators did."""

import re
import time

from fastapi import APIRouter, Request, Response

from api.admission.headers import page_limit
from api.auth.audit_log import operator_of
from api.context import context_of
from api.dialects import strict_json
from api.dialects.fields import to_page
from api.dialects.native.admin import (
    KeyBody,
    ModelBody,
    RotationBody,
    from_key,
    from_rotation,
    from_row,
    to_admin_action,
    to_key,
)
from api.openapi import examples
from api.openapi.document import ADMIN_ACTION_PAGE, describe
from api.openapi.responses import ADMIN_ACTION_LIST, CHANGED, FLEET, KEY, KEY_LIST, MODEL, NEW_KEY, refusals
from api.routes.models import to_model
from api.server.body import read_body, translated
from api.server.route import PlainRoute, json_answer
from shared import ids
from shared.errors import CallerError

_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")

router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin",
    tags=["admin"],
    responses=refusals("OpenAIError", 503),
)


@router.get(
    "/audit",
    summary="What operators did, newest first: the last 10,000 acts.",
    responses=refusals("OpenAIError", 400) | {200: ADMIN_ACTION_LIST},
    openapi_extra=describe(None, *ADMIN_ACTION_PAGE),
)
async def list_admin_actions(request: Request) -> Response:
    query = request.query_params
    after = query.get("after")
    if after is not None and not _ID.fullmatch(after):
        raise CallerError("invalid_request", "`after` is not the id of an act.", param="after")
    limit = page_limit(request)
    found, has_more = await context_of(request).admin_actions.list(after, limit)
    return json_answer(to_page([to_admin_action(one) for one in found], has_more=has_more))


# Route that tells what waits and which workers there are, for operators and autoscalers.

fleet_router = APIRouter(route_class=PlainRoute, tags=["admin"], responses=refusals("OpenAIError", 503))


@fleet_router.get("/v1/admin/fleet", summary="Every model's line and workers.", responses={200: FLEET})
async def fleet(request: Request) -> Response:
    context = context_of(request)
    models = context.models.rows
    told = zip(models, await context.jobs.fleet(models), strict=True)
    rows = [found.told(model.id) for model, found in told]
    return json_answer({"models": rows})


# Routes that manage API keys, for operators whose key has the scope `admin`.

REFUSALS = refusals("OpenAIError", 503)

keys_router = APIRouter(route_class=PlainRoute, prefix="/v1/admin/keys", tags=["admin"], responses=REFUSALS)


@keys_router.post(
    "",
    status_code=201,
    summary="Make a key; its secret is shown now and never again.",
    responses=refusals("OpenAIError", 400) | {201: NEW_KEY},
    openapi_extra=describe(KeyBody, example=examples.KEY),
)
async def create_key(request: Request) -> Response:
    context = context_of(request)
    operator = operator_of(request)
    body = await read_body(request, context.settings.api)
    said = await translated(operator.key, body, strict_json.parse)
    asked = from_key(said, ids.key_id(), time.time_ns() // 10**6)
    key, secret = await context.keyring.create(operator, asked)
    return json_answer(to_key(key, secret), 201)


@keys_router.get("", summary="List the keys, newest first.", responses={200: KEY_LIST})
async def list_keys(request: Request) -> Response:
    keys = await context_of(request).keyring.list()
    return json_answer({"object": "list", "data": [to_key(key) for key in keys], "has_more": False})


@keys_router.post(
    "/{id}/rotate",
    summary="Give a key a new secret; the former one goes on for `grace_s`.",
    responses=refusals("OpenAIError", 400, 404) | {200: NEW_KEY},
    openapi_extra=describe(RotationBody, example=examples.ROTATION),
)
async def rotate_key(request: Request, id: str) -> Response:
    context = context_of(request)
    operator = operator_of(request)
    body = await read_body(request, context.settings.api) or b"{}"
    grace_s = await translated(operator.key, body, lambda raw: from_rotation(strict_json.parse(raw)))
    key, secret = await context.keyring.rotate(operator, id, grace_s)
    return json_answer(to_key(key, secret))


@keys_router.delete(
    "/{id}",
    summary="Revoke a key and its former secret; harmless twice.",
    responses=refusals("OpenAIError", 404) | {200: KEY},
)
async def revoke_key(request: Request, id: str) -> Response:
    return json_answer(to_key(await context_of(request).keyring.revoke(operator_of(request), id)))


# Routes that add, pause, resume, drain and remove models while the service runs.

models_router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin/models",
    tags=["admin"],
    responses=refusals("OpenAIError", 404, 503) | {204: CHANGED},
)


@models_router.post(
    "",
    status_code=201,
    summary="Serve a model that no models file names, or one that was removed; 200 where it is served.",
    responses=refusals("OpenAIError", 400, 409) | {200: MODEL, 201: MODEL},
    openapi_extra=describe(ModelBody, example=examples.ROW),
)
async def add_model(request: Request) -> Response:
    context = context_of(request)
    operator = operator_of(request)
    body = await read_body(request, context.settings.api)
    model = await translated(operator.key, body, lambda raw: from_row(strict_json.parse(raw)))
    added = await context.serving.add(operator, model)
    return json_answer(to_model(model), 201 if added else 200)


@models_router.post(
    "/{id:path}/pause", status_code=204, summary="Begin none of a model's jobs; what runs finishes."
)
async def pause_model(request: Request, id: str) -> Response:
    await context_of(request).serving.pause(operator_of(request), id, paused=True)
    return Response(status_code=204)


@models_router.post(
    "/{id:path}/resume",
    status_code=204,
    summary="Begin a paused model's jobs again; take new ones for a drained one.",
)
async def resume_model(request: Request, id: str) -> Response:
    await context_of(request).serving.pause(operator_of(request), id, paused=False)
    return Response(status_code=204)


@models_router.post(
    "/{id:path}/drain", status_code=204, summary="Take no new jobs for a model; those that wait go on."
)
async def drain_model(request: Request, id: str) -> Response:
    await context_of(request).serving.drain(operator_of(request), id)
    return Response(status_code=204)


@models_router.delete(
    "/{id:path}",
    status_code=204,
    summary="Serve a model no more: jobs that wait for it fail with model_removed, those that run finish.",
)
async def remove_model(request: Request, id: str) -> Response:
    await context_of(request).serving.remove(operator_of(request), id)
    return Response(status_code=204)
