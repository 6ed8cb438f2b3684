"""Routes of webhook endpoints, which are sent every job's and batch's end, and of the log of events."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from api.admission.headers import page_limit
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.fields import to_page
from api.dialects.native.admin import RotationBody, from_rotation
from api.dialects.native.webhooks import (
    Endpoint,
    EndpointBody,
    EndpointChange,
    EndpointList,
    EndpointTryList,
    Event,
    EventList,
    NewEndpoint,
    from_change,
    from_endpoint,
    from_types,
    to_endpoint,
    to_event,
    to_new_endpoint,
    to_try,
)
from api.openapi import examples
from api.openapi.document import LOG, describe
from api.openapi.responses import answer, body, refusals
from api.server.memory_budget import reserved
from api.server.route import Json, json_body
from shared import ids, webhooks
from shared.offload import offload_if_large
from shared.store.webhook_events import PAGE_BYTES

EndpointCall = Annotated[webhooks.Endpoint, json_body(lambda body: from_endpoint(body, ids.endpoint_id()))]
ChangeCall = Annotated[webhooks.EndpointUpdate, json_body(from_change)]
RotationCall = Annotated[int, json_body(from_rotation, optional=True)]
ENDPOINT = answer("The webhook.")
NEW_ENDPOINT = answer("The webhook with its secret.")
SENT = answer("The event, which is sent.")

router = APIRouter(prefix="/v1", tags=["webhooks"], responses=refusals("Problem", 503))


@router.post(
    "/webhooks",
    status_code=201,
    summary="Have a URL told of all that ends; its secret is shown now and never again.",
    responses=refusals("Problem", 400, 409) | {201: NEW_ENDPOINT},
    openapi_extra=body(EndpointBody, examples.ENDPOINT),
)
async def create_webhook(http: Request, endpoint: EndpointCall) -> Json[NewEndpoint]:
    created, secret = await context_of(http).endpoints.create(caller_of(http).id, endpoint)
    return Json(to_new_endpoint(created, secret), 201)


@router.get(
    "/webhooks",
    summary="List the webhooks, newest first.",
    responses={200: answer("The webhooks.")},
)
async def list_webhooks(http: Request) -> Json[EndpointList]:
    rows = await context_of(http).endpoints.list(caller_of(http).id)
    return Json({**to_page([to_endpoint(row) for row in rows])})


@router.get("/webhooks/{id}", summary="One webhook.", responses=refusals("Problem", 404) | {200: ENDPOINT})
async def get_webhook(http: Request, id: str) -> Json[Endpoint]:
    return Json(to_endpoint(await context_of(http).endpoints.get(caller_of(http).id, id)))


@router.patch(
    "/webhooks/{id}",
    summary="Change a webhook, or turn it off and on again.",
    responses=refusals("Problem", 400, 404) | {200: ENDPOINT},
    openapi_extra=body(EndpointChange, examples.ENDPOINT_CHANGE),
)
async def change_webhook(http: Request, id: str, change: ChangeCall) -> Json[Endpoint]:
    return Json(to_endpoint(await context_of(http).endpoints.change(caller_of(http).id, id, change)))


@router.delete(
    "/webhooks/{id}",
    status_code=204,
    summary="Forget a webhook.",
    responses=refusals("Problem", 404) | {204: answer("The webhook is forgotten.")},
)
async def delete_webhook(http: Request, id: str) -> Response:
    await context_of(http).endpoints.delete(caller_of(http).id, id)
    return Response(status_code=204)


@router.post(
    "/webhooks/{id}/rotate",
    summary="Give a webhook a new secret; the former one signs as well for `grace_s`.",
    responses=refusals("Problem", 400, 404) | {200: NEW_ENDPOINT},
    openapi_extra=body(RotationBody, examples.ROTATION),
)
async def rotate_webhook(http: Request, id: str, grace_s: RotationCall) -> Json[NewEndpoint]:
    endpoint, secret = await context_of(http).endpoints.rotate(caller_of(http).id, id, grace_s)
    return Json(to_new_endpoint(endpoint, secret))


@router.post(
    "/webhooks/{id}/test",
    status_code=202,
    summary="Send an event `webhook.test` now, also to a webhook that is off.",
    responses=refusals("Problem", 404) | {202: SENT},
)
async def test_webhook(http: Request, id: str) -> Json[Event]:
    return Json(to_event(await context_of(http).endpoints.test(caller_of(http).id, id)), 202)


@router.get(
    "/webhooks/{id}/deliveries",
    summary="How the last 200 calls went, newest first.",
    responses=refusals("Problem", 404) | {200: answer("The calls.")},
)
async def list_deliveries(http: Request, id: str) -> Json[EndpointTryList]:
    rows = await context_of(http).endpoints.tries(caller_of(http).id, id)
    return Json({"object": "list", "data": [to_try(row) for row in rows], "has_more": False})


@router.post(
    "/webhooks/{id}/deliveries/{event}/replay",
    status_code=202,
    summary="Send an event again now, or one that it was never told, also to a webhook that is off.",
    responses=refusals("Problem", 404) | {202: SENT},
)
async def replay_event(http: Request, id: str, event: str) -> Json[Event]:
    return Json(to_event(await context_of(http).endpoints.replay(caller_of(http).id, id, event)), 202)


@router.get(
    "/events",
    summary="What has ended, oldest first, as webhooks are told it.",
    responses=refusals("Problem", 400, 404) | {200: answer("A page of events.")},
    openapi_extra=describe(*LOG),
)
async def list_events(http: Request) -> Json[EventList]:
    query, limit = http.query_params, page_limit(http)
    types, after = from_types(query.get("types")), query.get("after")
    context, caller = context_of(http), caller_of(http).id
    async with reserved(context.pages, caller, PAGE_BYTES):
        rows, has_more = await context.endpoints.events(caller, after=after, types=types, limit=limit)
        size = sum(row.job.bytes if row.job else len(row.data or "") for row in rows)

        def page() -> Json[EventList]:
            return Json({**to_page([to_event(row) for row in rows], has_more=has_more)})

        return await offload_if_large(page, size)
