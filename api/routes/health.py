"""For orchestrators: does the process serve, and can it answer a question."""

import asyncio

from fastapi import APIRouter, Request, Response

from api.context import ProcessContext, context_of
from api.description.answers import HEALTH, NOT_READY, READY
from api.description.responses import refusals
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from api.wire.problems import retry_after
from shared.errors import Unavailable

router = APIRouter(route_class=PlainRoute, tags=["health"], responses=refusals("HuggingFaceError"))

_STORE_LIMIT_S = 1.0


@router.get(
    "/health",
    summary="200 while this process serves, whatever else is broken.",
    responses={200: HEALTH},
)
async def health(request: Request) -> Response:
    context = context_of(request)
    # At once: where both hang a probe would not wait for one after the other.
    reachable, blobs = await asyncio.gather(_store_reachable(context), _blobs(context))
    body = {"status": "ok", "store": _word(reachable), "blobs": blobs}
    return json_answer(body)


@router.get(
    "/ready", summary="200 when some model is loaded, else 503.", responses={200: READY, 503: NOT_READY}
)
async def ready(request: Request) -> Response:
    context = context_of(request)
    states = {model.id: (await context.jobs.model_state(model)).state for model in context.models.rows}
    said = {"models": states, "blobs": await _blobs(context)}
    if "ready" in states.values():
        return json_answer({"status": "ready"} | said)
    headers = {"retry-after": retry_after(None)}
    return json_answer({"status": "not_ready"} | said, 503, headers)


async def _store_reachable(context: ProcessContext) -> bool:
    try:
        async with asyncio.timeout(_STORE_LIMIT_S):
            for model in context.models.rows[:1]:
                await context.jobs.model_state(model)
    except (Unavailable, TimeoutError):
        return False
    return True


async def _blobs(context: ProcessContext) -> dict[str, str]:
    """Questions without pictures are answered also where it is out of reach."""
    return {"kind": context.blobs.kind, "state": _word(await context.blobs.reachable())}


def _word(reachable: bool) -> str:
    return "reachable" if reachable else "unreachable"
