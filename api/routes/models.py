"""Routes that list the models served, as OpenAI's clients expect."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from api.context import ProcessContext, context_of
from api.openapi.responses import MODEL, MODEL_LIST, refusals
from api.server.route import PlainRoute, json_answer
from shared.errors import Unavailable
from shared.models import Model

# The list is served without workers' lengths where the store does not answer.
PATIENCE_S = 1.0
router = APIRouter(route_class=PlainRoute, tags=["models"], responses=refusals("OpenAIError"))


@router.get(
    "/v1/models",
    summary="List the models served, in the models file's order.",
    responses={200: MODEL_LIST},
)
async def list_models(request: Request) -> Response:
    context = context_of(request)
    models = context.models.rows
    told = zip(models, await _told_lengths(context, models), strict=True)
    rows = [to_model(model, length) for model, length in told]
    return json_answer({"object": "list", "data": rows})


# Clients do not encode the slash of an id.
@router.get(
    "/v1/models/{id:path}",
    summary="One model.",
    responses=refusals("OpenAIError", 404) | {200: MODEL},
)
async def get_model(request: Request, id: str) -> Response:
    context = context_of(request)
    model = context.models.resolve(id)
    (length,) = await _told_lengths(context, [model])
    return json_answer(to_model(model, length))


def to_model(model: Model, told: int | None = None) -> dict[str, Any]:
    """OpenAI's model object. Its clients need a number in `created`; a folder of weights has no such time.

    vLLM's clients read `max_model_len` first; where the model's row names no length, a worker has `told` it.
    """
    owner, slash, _ = model.id.partition("/")
    tokens = model.context_length or told
    length = {} if tokens is None else {"max_model_len": tokens}
    own = {"id": model.id, "object": "model", "created": 0, "owned_by": owner if slash else "sightline"}
    return own | length


async def _told_lengths(context: ProcessContext, models: Sequence[Model]) -> list[int | None]:
    """The lengths, by their workers, of models whose rows name none."""
    unknown = [model for model in models if model.context_length is None]
    try:
        async with asyncio.timeout(PATIENCE_S):
            fleet = await context.jobs.fleet(unknown) if unknown else []
    except (Unavailable, TimeoutError):
        fleet = []
    told = {model.id: found.lane.context_length for model, found in zip(unknown, fleet, strict=False)}
    return [told.get(model.id) for model in models]
