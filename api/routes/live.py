"""The route for pages that stay open: what changed, second by second."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from api.admission.headers import integer
from api.auth.callers import caller_of
from api.context import context_of
from api.dialects.native.models import LiveEvent, LiveModel, to_live_model
from api.jobs.live import LIVE_S, POLL_S, Marks, changed
from api.openapi import examples
from api.openapi.document import SECONDS, describe
from api.openapi.responses import answer, refusals, with_stream
from api.server.middleware import stopping
from api.server.sse import EventStream, block, comment
from shared.errors import Unavailable
from shared.json_line import to_json
from shared.store.jobs import statuses

EVENTS = with_stream(answer("Events."), examples.LIVE_STREAM, LiveEvent)

router = APIRouter(tags=["jobs"], responses=refusals("Problem", 503))


@router.get(
    "/v1/live",
    summary="What changes among your jobs, and for operators among the models, once a second at most.",
    status_code=200,
    response_class=EventStream,
    response_model=None,
    responses=refusals("Problem", 400) | {200: EVENTS},
    openapi_extra=describe(SECONDS),
)
async def live(http: HttpRequest) -> EventStream[LiveEvent]:
    seconds = integer("seconds", http.query_params.get("seconds", str(LIVE_S)), largest=LIVE_S)
    return EventStream(_blocks(http, seconds))


async def _blocks(http: HttpRequest, seconds: int) -> AsyncGenerator[bytes]:
    context, caller = context_of(http), caller_of(http)
    pause_s = context.settings.api.keepalive_s
    operates = caller.key is None or "admin" in caller.key.scopes
    jobs, models = await _jobs(http), await _models(http) if operates else {}
    end, sent = time.monotonic() + seconds, 0.0
    while True:
        if time.monotonic() - sent >= pause_s:
            yield comment("watching")
            sent = time.monotonic()
        if time.monotonic() + POLL_S > end or stopping(http.scope):
            return
        await asyncio.sleep(POLL_S)
        # Who reads finds out by its next call that the store is out of reach.
        with suppress(Unavailable):
            before, jobs = jobs, await _jobs(http)
            if ids := changed(before, jobs):
                yield block(to_json({"changed": ids}), event="jobs")
                sent = time.monotonic()
            before, models = models, await _models(http) if operates else {}
            if names := changed(before, models):
                rows = {name: models[name] for name in names if name in models}
                yield block(to_json({"models": rows}), event="fleet")
                sent = time.monotonic()


async def _jobs(http: HttpRequest) -> Marks:
    context, caller = context_of(http), caller_of(http).id

    async def look() -> Marks:
        return (await context.store.run(statuses(caller)))[0]

    return await context.polls.marks(f"jobs of {caller}", look)


async def _models(http: HttpRequest) -> Marks:
    context = context_of(http)

    async def look() -> Mapping[str, LiveModel]:
        rows = context.models.rows
        fleets = zip(rows, await context.jobs.fleet(rows), strict=True)
        return {row.id: to_live_model(fleet) for row, fleet in fleets}

    return await context.polls.marks("models", look)
