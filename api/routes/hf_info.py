"""Routes that Hugging Face's clients call to learn about a model before they ask it a question."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from api.admission.readiness import ModelState, not_ready
from api.context import context_of
from api.description.answers import MODEL_HEALTH, MODEL_INFO, MODEL_STATUS
from api.description.responses import refusals
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from shared.models import Model

REFUSALS = refusals("HuggingFaceError", 404, 503)

router = APIRouter(route_class=PlainRoute, tags=["hugging face"], responses=REFUSALS)

_STATES = {"ready": "Loaded", "loading": "Loadable", "no_worker": "Loadable", "failed": "error"}


@router.get(
    "/models/{id:model}/health",
    summary="200 when the model is loaded and answers.",
    responses=refusals("HuggingFaceError", 500) | {200: MODEL_HEALTH},
)
async def model_health(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    if state.standing != "ready":
        raise not_ready(model, state)
    return json_answer({"status": "ready"})


@router.get("/models/{id:model}", summary="What the model is and how it stands.", responses={200: MODEL_INFO})
@router.get(
    "/models/{id:model}/info", summary="What the model is and how it stands.", responses={200: MODEL_INFO}
)
async def model_info(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    return json_answer(to_info(model, state))


@router.get("/info", summary="What the first model is and how it stands.", responses={200: MODEL_INFO})
async def default_info(request: Request) -> Response:
    return await model_info(request, context_of(request).models.first.id)


@router.get(
    "/status/{id:path}",
    summary="Whether the model is loaded, in the words of the former HF API.",
    responses={200: MODEL_STATUS},
)
async def model_status(request: Request, id: str) -> Response:
    model, state = await _state(request, id)
    return json_answer(to_status(model, state))


def to_info(model: Model, state: ModelState) -> dict[str, Any]:
    """TGI's endpoint information, as far as it fits, and the model's queue."""
    return {
        "model_id": model.id,
        "model_sha": model.revision,
        "model_dtype": model.dtype,
        "model_device_type": model.device,
        "state": state.standing,
        "workers": state.lane.ready + state.lane.loading,
        "queued": state.lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
    }


def to_status(model: Model, state: ModelState) -> dict[str, Any]:
    return {
        "loaded": state.lane.state == "ready",
        "state": _STATES[state.lane.state],
        "compute_type": model.device,
        "framework": "transformers",
        "workers": state.lane.ready + state.lane.loading,
        "queued": state.lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
        "reason": state.lane.failed,
        "engine": state.lane.engine,
        "engine_reason": state.lane.engine_reason,
        "reused": None if state.lane.reused is None else asdict(state.lane.reused),
        "paused": state.lane.paused,
        "draining": state.lane.draining,
        "calibration": None if state.lane.calibration is None else asdict(state.lane.calibration),
    }


async def _state(request: Request, name: str) -> tuple[Model, ModelState]:
    context = context_of(request)
    model = context.models.resolve(name)
    return model, await context.jobs.model_state(model)
