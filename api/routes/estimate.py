"""Route that tells what would become of a job, before it is submitted."""

from dataclasses import replace

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from api.context import context_of
from api.description import examples
from api.description.answers import FORECAST
from api.description.openapi import describe
from api.description.parameters import USE_CACHE
from api.description.responses import refusals
from api.dialects import native
from api.dialects.forecasts import to_forecast
from api.routes.jobs import read_job
from api.wire.json_answer import json_answer
from api.wire.plain_route import PlainRoute
from api.wire.reply import reply_of

router = APIRouter(route_class=PlainRoute, tags=["jobs"], responses=refusals("Problem", 503))


@router.post(
    "/v1/estimate",
    summary="Say what would become of a job: from the cache, or how long it waits, runs and what it costs.",
    responses=refusals("Problem", 400, 404, 408, 410, 413, 500) | {200: FORECAST},
    openapi_extra=describe(native.JobBody, USE_CACHE, example=examples.JOB),
)
async def foretell_job(request: HttpRequest) -> Response:
    context, reservation = context_of(request), reply_of(request).reservation
    question, terms = await read_job(request, context)
    try:
        told = await context.foretelling.foretell(question, replace(terms, idempotency_key=None), reservation)
    finally:
        await reservation.release()
    return json_answer(to_forecast(told))
