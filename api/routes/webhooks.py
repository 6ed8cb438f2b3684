"""Routes of webhook endpoints, which are sent every job's and batch's end, and of the log of events."""

from fastapi import APIRouter, Request, Response

from api.admission.headers import page_limit
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects import strict_json
from api.dialects.fields import to_page
from api.dialects.native.admin import RotationBody, from_rotation
from api.dialects.native.webhooks import (
    EndpointBody,
    EndpointChange,
    from_change,
    from_endpoint,
    from_types,
    to_endpoint,
    to_event,
    to_try,
)
from api.openapi import examples as examples
from api.openapi.document import LOG, describe
from api.openapi.examples import ROTATION
from api.openapi.responses import (
    ENDPOINT,
    ENDPOINT_GONE,
    ENDPOINT_LIST,
    EVENT_LIST,
    NEW_ENDPOINT,
    SENT,
    TRY_LIST,
    refusals,
)
from api.server.body import read_body, translated
from api.server.memory_budget import reserved
from api.server.route import PlainRoute, json_answer
from shared import ids
from shared.offload import offload_if_large
from shared.store.webhook_events import PAGE_BYTES

router = APIRouter(
    route_class=PlainRoute, prefix="/v1", tags=["webhooks"], responses=refusals("Problem", 503)
)


@router.post(
    "/webhooks",
    status_code=201,
    summary="Have a URL told of all that ends; its secret is shown now and never again.",
    responses=refusals("Problem", 400, 409) | {201: NEW_ENDPOINT},
    openapi_extra=describe(EndpointBody, example=examples.ENDPOINT),
)
async def create_webhook(request: Request) -> Response:
    context, caller = context_of(request), caller_of(request).id
    body = await read_body(request, context.settings.api)
    said = await translated(
        caller, body, lambda raw: from_endpoint(strict_json.parse(raw), ids.endpoint_id())
    )
    endpoint, secret = await context.endpoints.create(caller, said)
    return json_answer(to_endpoint(endpoint, secret), 201)


@router.get("/webhooks", summary="List the webhooks, newest first.", responses={200: ENDPOINT_LIST})
async def list_webhooks(request: Request) -> Response:
    found = await context_of(request).endpoints.list(caller_of(request).id)
    return json_answer(to_page([to_endpoint(endpoint) for endpoint in found]))


@router.get("/webhooks/{id}", summary="One webhook.", responses=refusals("Problem", 404) | {200: ENDPOINT})
async def get_webhook(request: Request, id: str) -> Response:
    return json_answer(to_endpoint(await context_of(request).endpoints.get(caller_of(request).id, id)))


@router.patch(
    "/webhooks/{id}",
    summary="Change a webhook, or turn it off and on again.",
    responses=refusals("Problem", 400, 404) | {200: ENDPOINT},
    openapi_extra=describe(EndpointChange, example=examples.ENDPOINT_CHANGE),
)
async def change_webhook(request: Request, id: str) -> Response:
    context, caller = context_of(request), caller_of(request).id
    body = await read_body(request, context.settings.api)
    change = await translated(caller, body, lambda raw: from_change(strict_json.parse(raw)))
    return json_answer(to_endpoint(await context.endpoints.change(caller, id, change)))


@router.delete(
    "/webhooks/{id}",
    status_code=204,
    summary="Forget a webhook.",
    responses=refusals("Problem", 404) | {204: ENDPOINT_GONE},
)
async def delete_webhook(request: Request, id: str) -> Response:
    await context_of(request).endpoints.delete(caller_of(request).id, id)
    return Response(status_code=204)


@router.post(
    "/webhooks/{id}/rotate",
    summary="Give a webhook a new secret; the former one signs as well for `grace_s`.",
    responses=refusals("Problem", 400, 404) | {200: NEW_ENDPOINT},
    openapi_extra=describe(RotationBody, example=ROTATION),
)
async def rotate_webhook(request: Request, id: str) -> Response:
    context, caller = context_of(request), caller_of(request).id
    body = await read_body(request, context.settings.api) or b"{}"
    grace_s = await translated(caller, body, lambda raw: from_rotation(strict_json.parse(raw)))
    return json_answer(to_endpoint(*await context.endpoints.rotate(caller, id, grace_s)))


@router.post(
    "/webhooks/{id}/test",
    status_code=202,
    summary="Send an event `webhook.test` now, also to a webhook that is off.",
    responses=refusals("Problem", 404) | {202: SENT},
)
async def test_webhook(request: Request, id: str) -> Response:
    sent = await context_of(request).endpoints.test(caller_of(request).id, id)
    return json_answer(to_event(sent), 202)


@router.get(
    "/webhooks/{id}/deliveries",
    summary="How the last 200 calls went, newest first.",
    responses=refusals("Problem", 404) | {200: TRY_LIST},
)
async def list_deliveries(request: Request, id: str) -> Response:
    tries = await context_of(request).endpoints.tries(caller_of(request).id, id)
    return json_answer({"object": "list", "data": [to_try(tried) for tried in tries], "has_more": False})


@router.post(
    "/webhooks/{id}/deliveries/{event}/replay",
    status_code=202,
    summary="Send an event again now, or one that it was never told, also to a webhook that is off.",
    responses=refusals("Problem", 404) | {202: SENT},
)
async def replay_event(request: Request, id: str, event: str) -> Response:
    sent = await context_of(request).endpoints.replay(caller_of(request).id, id, event)
    return json_answer(to_event(sent), 202)


@router.get(
    "/events",
    summary="What has ended, oldest first, as webhooks are told it.",
    responses=refusals("Problem", 400, 404) | {200: EVENT_LIST},
    openapi_extra=describe(None, *LOG),
)
async def list_events(request: Request) -> Response:
    query = request.query_params
    limit, types = page_limit(request), from_types(query.get("types"))
    context, caller = context_of(request), caller_of(request).id
    async with reserved(context.pages, caller, PAGE_BYTES):
        found, has_more = await context.endpoints.events(
            caller, after=query.get("after"), types=types, limit=limit
        )
        size = sum(n.job.bytes if n.job else len(n.body or "") for n in found)
        return await offload_if_large(
            lambda: json_answer(to_page([to_event(notice) for notice in found], has_more=has_more)), size
        )
