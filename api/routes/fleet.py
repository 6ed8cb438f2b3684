"""Route that tells what waits and which workers there are, for operators and autoscalers."""

from fastapi import APIRouter, Request, Response

from api.context import context_of
from api.description.answers import FLEET
from api.description.responses import refusals
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute

router = APIRouter(route_class=PlainRoute, tags=["admin"], responses=refusals("OpenAIError", 503))


@router.get("/v1/admin/fleet", summary="Every model's line and workers.", responses={200: FLEET})
async def fleet(request: Request) -> Response:
    context = context_of(request)
    models = context.models.rows
    told = zip(models, await context.jobs.fleet(models), strict=True)
    rows = [found.told(model.id) for model, found in told]
    return json_answer({"models": rows})
