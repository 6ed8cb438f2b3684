"""The HTTP application: creates it, with its routes and layers.

A factory, not a module global: importing must not read the environment, and tests bring their own context."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.telemetry import TelemetryConfig

from api.auth.middleware import AuthMiddleware
from api.context import ProcessContext
from api.context import open_context as open_production_context
from api.openapi.document import install_schema
from api.routes import (
    admin,
    batches,
    completions,
    files,
    health,
    hf,
    jobs,
    live,
    models,
    page,
    page_jobs,
    responses,
)
from api.server import errors, shutdown
from api.server.middleware import RequestMiddleware
from api.server.route import known_query
from shared import VERSION
from shared.settings import Settings
from shared.settings import settings as process_settings
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces

OpenContext = Callable[[Settings], Awaitable[ProcessContext]]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS: dict[str, Any] = {
    "allow_methods": METHODS,
    "allow_headers": ("*",),
    "expose_headers": ("*",),
    "allow_private_network": True,
}
"""What named pages may do. No cookie identifies a caller, so credentials are never allowed: a page sends its
key itself."""
YOUNG = 10_000
"""Objects between two collections of garbage."""
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
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, shutdown.Shutdown]]:
        open_traces(config, "sightline-api")
        threshold = gc.get_threshold()[0]
        app.state.context = await open_context(config)
        try:
            ending = shutdown.Shutdown()
            # What is there now lives as long as the process: no collection of garbage looks through it.
            gc.freeze()
            # What calls leave behind has no cycles, as a rule: Python's own threshold looks every few calls.
            gc.set_threshold(YOUNG)
            with ending.on_signal():
                yield {shutdown.KEY: ending}
        finally:
            gc.unfreeze()
            gc.set_threshold(threshold)
            await app.state.context.aclose()
            close_traces()

    # FastAPI's own documentation pages load their scripts from the internet.
    app = FastAPI(
        title="Sightline",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={**TELEMETRY, "tracing": bool(config.traces.url)},
    )
    _add_middleware(app, config)
    errors.install(app)
    app.router.routes.extend(ROUTES.routes)
    install_schema(app)
    return app


def _add_middleware(app: FastAPI, config: Settings) -> None:
    """The innermost layer first."""
    app.add_middleware(AuthMiddleware, max_open=config.api.max_open)
    app.add_middleware(RequestMiddleware)
    if config.api.cors_origins:
        # Around all else: a page may read every answer, and a preflight request carries no key.
        app.add_middleware(CORSMiddleware, allow_origins=config.api.cors_origins, **CORS)


def _all_routes() -> APIRouter:
    routes = APIRouter()
    # Routes are tried in order. The busiest come first, and take no query parameters.
    for router in (hf.router, completions.router):
        routes.include_router(router)
    for router in (
        page_jobs.router,
        jobs.router,
        jobs.estimate_router,
        responses.router,
        hf.info_router,
        models.router,
        health.router,
        admin.models_router,
        admin.keys_router,
        files.router,
        batches.router,
        hf.root_router,
        admin.fleet_router,
        health.metrics_router,
        live.router,
        page.router,
    ):
        routes.include_router(router, dependencies=[Depends(known_query)])
    # Prefixes that Hugging Face's and Groq's clients put before the paths.
    prefixes = {"/hf-inference": (hf.router, hf.info_router), "/openai": (completions.router, models.router)}
    for prefix, routers in prefixes.items():
        for router in routers:
            routes.include_router(router, prefix=prefix, include_in_schema=False)
    return routes


ROUTES = _all_routes()
"""FastAPI compiles the models of a route once, at the first request, however many applications share it."""
