"""The HTTP application: creates it, with its routes and layers.

A factory, not a module global: importing must not read the environment, and tests bring their own context.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api.context import ProcessContext
from api.description.openapi import install_schema
from api.gate import Gate
from api.hangup import hangup_as_end
from api.routes import (
    admin,
    batches,
    chat,
    estimate,
    files,
    fleet,
    health,
    hf,
    hf_info,
    jobs,
    keys,
    metrics,
    models,
    page,
    responses,
    serving,
    webhooks,
)
from api.wire import problems
from api.wire.cors import Cors
from api.wire.edge import Edge
from api.wire.ending import KEY as ENDING
from api.wire.ending import Ending
from api.wire.plain_route import PlainRoute
from api.wiring import open_context as open_production_context
from shared.settings import Settings
from shared.settings import settings as process_settings
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces

OpenContext = Callable[[Settings], Awaitable[ProcessContext]]
TELEMETRY: TelemetryConfig = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""A span for each request where traces are on, and no logs: those would repeat what callers sent."""


def create_app(
    settings: Settings | None = None, open_context: OpenContext = open_production_context
) -> FastAPI:
    """Build the application; connections open and close with its lifespan. Raises SettingsError."""
    config = settings or process_settings()
    # Here, so that the server's own first log lines have the same form as all others.
    open_log(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Ending]]:
        open_traces(config, "sightline-api")
        app.state.context = await open_context(config)
        try:
            end = Ending()
            with end.told_by_signal(), hangup_as_end():
                yield {ENDING: end}
        finally:
            await app.state.context.aclose()
            close_traces()

    # FastAPI's own documentation pages load their scripts from the internet.
    app = FastAPI(
        title="Sightline",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=TELEMETRY,
    )
    app.add_middleware(Gate)
    app.add_middleware(Cors)
    app.add_middleware(Edge)
    problems.install(app)
    _include_routes(app)
    install_schema(app)
    return app


def _include_routes(app: FastAPI) -> None:
    # Routes are tried in order: the busiest come first.
    for router in (
        hf.router,
        chat.router,
        jobs.router,
        estimate.router,
        responses.router,
        hf_info.router,
        models.router,
        health.router,
        admin.router,
        serving.router,
        keys.router,
        webhooks.router,
        files.router,
        batches.router,
        hf.root_router,
        fleet.router,
        metrics.router,
        page.router,
    ):
        # Included routers are matched anew on every call, once to find the router and once to find the route.
        app.router.routes.extend(router.routes)
    # Prefixes that Hugging Face's and Groq's clients put before the paths.
    prefixes = {"/hf-inference": (hf.router, hf_info.router), "/openai": (chat.router, models.router)}
    for prefix, routers in prefixes.items():
        app.router.routes.extend(
            route.under(prefix)
            for router in routers
            for route in router.routes
            if isinstance(route, PlainRoute)
        )
