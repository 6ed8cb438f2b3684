"""What waits and who works: for a look, and for whatever scales the workers."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from api.context import context_of
from api.description.answers import FLEET
from api.description.responses import refusals
from api.wire.plain_route import PlainRoute
from shared.fleet import Fleet
from shared.models import Model

router = APIRouter(route_class=PlainRoute, tags=["admin"], responses=refusals("OpenAIError", 503))


@router.get("/v1/admin/fleet", summary="Every model's line and workers.", responses={200: FLEET})
async def fleet(request: Request) -> Response:
    context = context_of(request)
    models = context.models.rows
    told = zip(models, await context.jobs.fleet(models), strict=True)
    return Response(to_json({"models": [to_fleet(*one) for one in told]}), media_type="application/json")


def to_fleet(model: Model, fleet: Fleet) -> dict[str, Any]:
    """Ages in seconds."""
    lane = fleet.lane
    waited = None if fleet.oldest_ms is None else max(0, lane.now_ms - fleet.oldest_ms) / 1000
    return {
        "model": model.id,
        "state": lane.state,
        "reason": lane.failed,
        "paused": lane.paused,
        "draining": lane.draining,
        "drained": fleet.drained,
        "queued": fleet.waiting,
        "running": lane.running,
        "backlog": fleet.backlog,
        "oldest_queued_s": waited,
        "engine": lane.engine,
        "engine_reason": lane.engine_reason,
        "reused": None if lane.reused is None else asdict(lane.reused),
        "workers": [asdict(worker) for worker in fleet.workers],
    }
