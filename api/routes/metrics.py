"""Route of the metrics, for Prometheus and autoscalers."""

from fastapi import APIRouter, Request, Response

from api.context import context_of
from api.description.answers import METRICS
from api.wire.plain_route import PlainRoute

router = APIRouter(route_class=PlainRoute, tags=["admin"])


@router.get(
    "/metrics",
    summary="Everything that is counted, for Prometheus.",
    response_class=Response,
    responses={200: METRICS},
)
async def metrics(request: Request) -> Response:
    page, form = await context_of(request).metrics.page(request.headers.get("accept", ""))
    return Response(page, media_type=form)
