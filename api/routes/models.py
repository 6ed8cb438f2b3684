"""Routes that list the models served, as OpenAI's clients expect."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request

from api.auth.callers import operator_of
from api.context import ProcessContext, context_of
from api.dialects.native.models import Model, ModelList, to_model
from api.openapi.responses import answer, refusals
from api.server.route import Json
from shared import models
from shared.errors import CallerError, Unavailable
from shared.estimate import Lane

FLEET_LIMIT_S = 1.0
"""Where the store does not answer for so long, nothing is told that only workers know."""
MODEL_ANSWER = answer("The model.")
router = APIRouter(tags=["models"], responses=refusals("OpenAIError"))


@router.get(
    "/v1/models",
    summary="List the models served, in the models file's order.",
    responses={200: answer("The models.")},
)
async def list_models(http: Request) -> Json[ModelList]:
    context = context_of(http)
    rows = context.models.rows
    lanes = await _lanes(context, rows)
    data = [to_model(row, context.settings, lanes.get(row.id)) for row in rows]
    return Json({"object": "list", "data": data})


# Clients do not encode the slash of an id.
@router.get(
    "/v1/models/{id:path}",
    summary="One model.",
    responses=refusals("OpenAIError", 404) | {200: MODEL_ANSWER},
)
async def get_model(http: Request, id: str) -> Json[Model]:
    return Json(await _model(context_of(http), id))


@router.post(
    "/v1/models/{id:path}/unload",
    status_code=202,
    summary="Unload a model; what runs finishes, and the next request loads it again.",
    responses=refusals("OpenAIError", 404, 409, 503) | {202: MODEL_ANSWER},
)
async def unload_model(http: Request, id: str) -> Json[Model]:
    context = context_of(http)
    row = context.models.resolve(id)
    (fleet,) = await context.jobs.fleet([row])
    if fleet.workers and not fleet.lane.cold:
        raise CallerError("no_node", f"No node runs the workers of {row.id}, so none can stop them.")
    await context.serving.change(operator_of(http), id, "unload")
    return Json(await _model(context, id), 202)


async def _model(context: ProcessContext, id: str) -> Model:
    row = context.models.resolve(id)
    lanes = await _lanes(context, [row])
    return to_model(row, context.settings, lanes.get(row.id))


async def _lanes(context: ProcessContext, rows: Sequence[models.Model]) -> dict[str, Lane]:
    try:
        async with asyncio.timeout(FLEET_LIMIT_S):
            fleet = await context.jobs.fleet(rows) if rows else []
    except (Unavailable, TimeoutError):
        fleet = []
    return {row.id: state.lane for row, state in zip(rows, fleet, strict=False)}
