"""Routes for orchestrators and Prometheus: does the process serve, can it answer a question, its metrics."""

import asyncio
from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.context import ProcessContext, context_of
from api.dialects.native.models import BlobKind, BlobStore, Health, Readiness, StoreMemory, StoreState
from api.openapi.responses import REF, answer, refusals, text_answer
from api.server.errors import retry_after
from api.server.middleware import STOPPING, stopping
from api.server.route import Json
from shared.errors import Unavailable
from shared.estimate import Lane
from shared.models import Model
from shared.store.headroom import takes_writes

router = APIRouter(tags=["health"], responses=refusals("HuggingFaceError"))

NOT_READY = answer(
    "No model is loaded or can be, or the record store is out of reach or takes no writes.",
    headers=("retry-after",),
    schema={"anyOf": [{"$ref": f"{REF}Readiness"}, {"$ref": f"{REF}HuggingFaceError"}]},
)
METRICS = text_answer("All metrics, in Prometheus' text format.", "text/plain")
STORE_LIMIT_S = 1.0
"""A store that does not answer for so long is reported as unreachable."""


@router.get(
    "/health",
    summary="200 while this process serves, whatever else is broken.",
    responses={200: answer("The process serves.")},
)
async def health(http: Request) -> Json[Health]:
    context = context_of(http)
    # Both at once: a probe would not wait for one after the other where both hang.
    store, blobs = await asyncio.gather(_store(context), _blobs(context))
    return Json({"status": "ok", "store": store, "blobs": blobs})


@router.get(
    "/ready",
    summary="200 when some model is loaded, or would be if asked, else 503; 503 too where this process ends.",
    responses={200: answer("Some model answers when it is asked."), 503: NOT_READY},
)
async def ready(http: Request) -> Json[Readiness]:
    if stopping(http.scope):
        raise STOPPING
    context = context_of(http)
    if not await takes_writes(context.store, context.settings):
        message = "The record store takes no writes now; try again."
        raise Unavailable("store_unavailable", message, retry_after=5)
    states = {model.id: await context.jobs.model_state(model) for model in context.models.rows}
    # A paused or drained model is still loaded: its process need not be replaced.
    answers = any(_answers(model, states[model.id].lane) for model in context.models.rows)
    body: Readiness = {
        "status": "ready" if answers else "not_ready",
        "models": {name: state.standing for name, state in states.items()},
        "memory": await store_memory(context),
        "blobs": await _blobs(context),
    }
    return Json(body) if answers else Json(body, 503, {"retry-after": retry_after(None)})


def _answers(model: Model, lane: Lane) -> bool:
    """What is loaded when it is asked for need not stand yet: nobody would come to ask."""
    loaded_on_demand = model.keep_alive_s is not None and lane.cold > 0 and lane.state != "failed"
    return loaded_on_demand or lane.state in ("ready", "cold")


async def store_memory(context: ProcessContext) -> StoreMemory:
    """Raises Unavailable."""
    memory, charges = await context.headroom.memory(), await context.headroom.charges()
    records = min(memory.used, max(0, charges.total - memory.promised))
    return {
        "used": memory.used,
        "limit": memory.limit,
        "reserved": memory.promised,
        "records": records,
        "rest": memory.used - records,
        "full": not await context.headroom.has_room(),
    }


async def _store(context: ProcessContext) -> StoreState:
    try:
        async with asyncio.timeout(STORE_LIMIT_S):
            if not await takes_writes(context.store, context.settings):
                return "read_only"
            return "reachable" if await context.headroom.has_room() else "nearly_full"
    except (Unavailable, TimeoutError):
        return "unreachable"


async def _blobs(context: ProcessContext) -> BlobStore:
    """The blob store's state; requests without pictures are answered even where it is unreachable."""
    return {"kind": cast(BlobKind, context.blobs.kind), "state": await context.blobs.reach()}


metrics_router = APIRouter(tags=["admin"])


@metrics_router.get(
    "/metrics",
    summary="Everything that is counted, for Prometheus.",
    response_class=Response,
    responses={200: METRICS},
)
async def metrics(http: Request) -> Response:
    return Response(await context_of(http).metrics.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
