"""Routes that list the models served, as OpenAI's clients expect."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request

from api.context import ProcessContext, context_of
from api.dialects.native.models import Model, ModelList, to_model
from api.openapi.responses import answer, refusals
from api.server.route import Json, ServiceRoute
from shared import models
from shared.errors import Unavailable

FLEET_LIMIT_S = 1.0
"""Where the store does not answer for so long, the list has no lengths that only workers know."""
MODEL_ANSWER = answer("The model.")
router = APIRouter(route_class=ServiceRoute, tags=["models"], responses=refusals("OpenAIError"))


@router.get(
    "/v1/models",
    summary="List the models served, in the models file's order.",
    responses={200: answer("The models.")},
)
async def list_models(http: Request) -> Json[ModelList]:
    context = context_of(http)
    rows = context.models.rows
    lengths = await _worker_lengths(context, rows)
    return Json({"object": "list", "data": [to_model(row, lengths.get(row.id)) for row in rows]})


# Clients do not encode the slash of an id.
@router.get(
    "/v1/models/{id:path}",
    summary="One model.",
    responses=refusals("OpenAIError", 404) | {200: MODEL_ANSWER},
)
async def get_model(http: Request, id: str) -> Json[Model]:
    context = context_of(http)
    row = context.models.resolve(id)
    lengths = await _worker_lengths(context, [row])
    return Json(to_model(row, lengths.get(row.id)))


async def _worker_lengths(context: ProcessContext, rows: Sequence[models.Model]) -> dict[str, int | None]:
    """The context lengths that workers report, of models whose rows name none, by id."""
    unknown = [row for row in rows if row.context_length is None]
    try:
        async with asyncio.timeout(FLEET_LIMIT_S):
            fleet = await context.jobs.fleet(unknown) if unknown else []
    except (Unavailable, TimeoutError):
        fleet = []
    return {row.id: state.lane.context_length for row, state in zip(unknown, fleet, strict=False)}
