"""Routes that add, pause, resume, drain and remove models while the service runs."""

from fastapi import APIRouter, Request, Response

from api.access.admin_actions import operator_of
from api.context import context_of
from api.description import examples
from api.description.answers import CHANGED, MODEL
from api.description.openapi import describe
from api.description.responses import refusals
from api.dialects import strict_json
from api.dialects.models import ModelBody, from_row
from api.routes.models import to_model
from api.wire.body import read_body
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from api.wire.reading import translated

router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin/models",
    tags=["admin"],
    responses=refusals("OpenAIError", 404, 503) | {204: CHANGED},
)


@router.post(
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


@router.post("/{id:path}/pause", status_code=204, summary="Begin none of a model's jobs; what runs finishes.")
async def pause_model(request: Request, id: str) -> Response:
    await context_of(request).serving.pause(operator_of(request), id, paused=True)
    return Response(status_code=204)


@router.post(
    "/{id:path}/resume",
    status_code=204,
    summary="Begin a paused model's jobs again; take new ones for a drained one.",
)
async def resume_model(request: Request, id: str) -> Response:
    await context_of(request).serving.pause(operator_of(request), id, paused=False)
    return Response(status_code=204)


@router.post(
    "/{id:path}/drain", status_code=204, summary="Take no new jobs for a model; those that wait go on."
)
async def drain_model(request: Request, id: str) -> Response:
    await context_of(request).serving.drain(operator_of(request), id)
    return Response(status_code=204)


@router.delete(
    "/{id:path}",
    status_code=204,
    summary="Serve a model no more: jobs that wait for it fail with model_removed, those that run finish.",
)
async def remove_model(request: Request, id: str) -> Response:
    await context_of(request).serving.remove(operator_of(request), id)
    return Response(status_code=204)
