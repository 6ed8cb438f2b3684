"""Routes for orchestrators: does the process serve, and can it answer a question."""

import asyncio

from fastapi import APIRouter, Request, Response

from api.context import ProcessContext, context_of
from api.openapi.responses import HEALTH, METRICS, NOT_READY, READY, refusals
from api.server.errors import retry_after
from api.server.middleware import ENDING
from api.server.route import PlainRoute, json_answer
from api.server.shutdown import KEY, Shutdown
from shared.errors import Unavailable

router = APIRouter(route_class=PlainRoute, tags=["health"], responses=refusals("HuggingFaceError"))

STORE_LIMIT_S = 1.0
"""A store that does not answer for so long is reported as unreachable."""


@router.get(
    "/health",
    summary="200 while this process serves, whatever else is broken.",
    responses={200: HEALTH},
)
async def health(request: Request) -> Response:
    context = context_of(request)
    # Both at once: a probe would not wait for one after the other where both hang.
    store, blobs = await asyncio.gather(_store(context), _blobs(context))
    return json_answer({"status": "ok", "store": store, "blobs": blobs})


@router.get(
    "/ready",
    summary="200 when some model is loaded, else 503; 503 too where this process ends.",
    responses={200: READY, 503: NOT_READY},
)
async def ready(request: Request) -> Response:
    shutdown: Shutdown | None = getattr(request.state, KEY, None)
    if shutdown is not None and shutdown.begun:
        raise ENDING
    context = context_of(request)
    if not await context.jobs.writable():
        message = "The record store takes no writes now; try again."
        raise Unavailable("store_unavailable", message, retry_after=5)
    states = {model.id: await context.jobs.model_state(model) for model in context.models.rows}
    standing = {name: state.standing for name, state in states.items()}
    said = {"models": standing, "blobs": await _blobs(context)}
    # A paused or drained model is still loaded: its process need not be replaced.
    if any(state.lane.state == "ready" for state in states.values()):
        return json_answer({"status": "ready"} | said)
    headers = {"retry-after": retry_after(None)}
    return json_answer({"status": "not_ready"} | said, 503, headers)


async def _store(context: ProcessContext) -> str:
    try:
        async with asyncio.timeout(STORE_LIMIT_S):
            if not await context.jobs.writable():
                return "read_only"
            return "reachable" if await context.headroom.left() else "nearly_full"
    except (Unavailable, TimeoutError):
        return "unreachable"


async def _blobs(context: ProcessContext) -> dict[str, str]:
    """The blob store's state; requests without pictures are answered even where it is unreachable."""
    return {"kind": context.blobs.kind, "state": await context.blobs.reach()}


# Route of the metrics, for Prometheus and autoscalers.

metrics_router = APIRouter(route_class=PlainRoute, tags=["admin"])


@metrics_router.get(
    "/metrics",
    summary="Everything that is counted, for Prometheus.",
    response_class=Response,
    responses={200: METRICS},
)
async def metrics(request: Request) -> Response:
    page, form = await context_of(request).metrics.page(request.headers.get("accept", ""))
    return Response(page, media_type=form)
