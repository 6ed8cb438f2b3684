"""Routes that list the models served, as OpenAI's clients expect."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.context import context_of
from api.description.answers import MODEL, MODEL_LIST
from api.description.responses import refusals
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from shared.models import Model

router = APIRouter(route_class=PlainRoute, tags=["models"], responses=refusals("OpenAIError"))


@router.get(
    "/v1/models",
    summary="List the models served, in the models file's order.",
    responses={200: MODEL_LIST},
)
async def list_models(request: Request) -> Response:
    rows = [to_model(model) for model in context_of(request).models.rows]
    return json_answer({"object": "list", "data": rows})


# Clients do not encode the slash of an id.
@router.get(
    "/v1/models/{id:path}",
    summary="One model.",
    responses=refusals("OpenAIError", 404) | {200: MODEL},
)
async def get_model(request: Request, id: str) -> Response:
    return json_answer(to_model(context_of(request).models.resolve(id)))


def to_model(model: Model) -> dict[str, Any]:
    """OpenAI's model object. Its clients need a number in `created`; a folder of weights has no such time.

    vLLM's clients read `max_model_len` first; where the model's row names no length, only workers know it.
    """
    owner, slash, _ = model.id.partition("/")
    length = {} if model.context_length is None else {"max_model_len": model.context_length}
    own = {"id": model.id, "object": "model", "created": 0, "owned_by": owner if slash else "sightline"}
    return own | length
