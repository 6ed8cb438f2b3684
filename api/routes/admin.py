"""What an operator does while the service runs."""

from fastapi import APIRouter, Request, Response

from api.context import context_of
from api.description.answers import CHANGED
from api.description.responses import refusals
from api.plain_route import PlainRoute

router = APIRouter(
    route_class=PlainRoute,
    prefix="/v1/admin",
    tags=["admin"],
    responses=refusals("OpenAIError", 404, 503) | {204: CHANGED},
)


@router.post(
    "/models/{id:path}/pause", status_code=204, summary="Begin none of a model's jobs; what runs finishes."
)
async def pause_model(request: Request, id: str) -> Response:
    return await _pause(request, id, paused=True)


@router.post("/models/{id:path}/resume", status_code=204, summary="Begin a paused model's jobs again.")
async def resume_model(request: Request, id: str) -> Response:
    return await _pause(request, id, paused=False)


async def _pause(request: Request, name: str, *, paused: bool) -> Response:
    context = context_of(request)
    await context.jobs.pause(context.models.resolve(name), paused=paused)
    return Response(status_code=204)
