"""Routes that manage API keys, for operators whose key has the scope `admin`."""

import time

from fastapi import APIRouter, Request, Response

from api.access.admin_actions import operator_of
from api.context import context_of
from api.description import examples
from api.description.answers import KEY, KEY_LIST, NEW_KEY
from api.description.openapi import describe
from api.description.responses import refusals
from api.dialects import strict_json
from api.dialects.keys import KeyBody, RotationBody, from_key, from_rotation, to_key
from api.wire.body import read_body
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from api.wire.reading import translated
from shared import ids

REFUSALS = refusals("OpenAIError", 503)

router = APIRouter(route_class=PlainRoute, prefix="/v1/admin/keys", tags=["admin"], responses=REFUSALS)


@router.post(
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


@router.get("", summary="List the keys, newest first.", responses={200: KEY_LIST})
async def list_keys(request: Request) -> Response:
    keys = await context_of(request).keyring.list()
    return json_answer({"object": "list", "data": [to_key(key) for key in keys], "has_more": False})


@router.post(
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


@router.delete(
    "/{id}",
    summary="Revoke a key and its former secret; harmless twice.",
    responses=refusals("OpenAIError", 404) | {200: KEY},
)
async def revoke_key(request: Request, id: str) -> Response:
    return json_answer(to_key(await context_of(request).keyring.revoke(operator_of(request), id)))
