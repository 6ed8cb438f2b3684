"""The application over a scripted `Desk`, as an in-process HTTP client meets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from asgi_lifespan import LifespanManager

from api.app import create_app
from api.context import ProcessContext
from api.keyring import Keyring
from api.leaving import Leaving
from shared.models import Model, Models
from shared.settings import ApiSettings, Settings
from shared.store.script import connect_async
from tests.support.desk import Desk

ROOT = "http://sightline"
MODELS = Models((Model(id="sightline/tiny"), Model(id="org/other", revision="abc")))
JSON = {"content-type": "application/json"}


class NoConnection:
    async def aclose(self) -> None:
        """There is none."""


@asynccontextmanager
async def serving(desk: Desk, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; `api` are its settings where they differ from the defaults."""
    async with application(desk, **api) as app, client_of(app) as client:
        yield client


@asynccontextmanager
async def application(desk: Desk, **api: Any) -> AsyncIterator[Any]:
    """The started ASGI application itself."""

    async def open_context(settings: Settings) -> ProcessContext:
        leaving = Leaving(desk, settings.api.leave_grace_s)
        # No key is configured, so that the store is never asked.
        keyring = Keyring(settings.api, connect_async(settings.redis))
        return ProcessContext(settings, MODELS, desk, desk, desk, leaving, keyring, NoConnection())

    settings = Settings(api=ApiSettings(**{"keepalive_s": 0.01, "leave_grace_s": 0, **api}))
    async with LifespanManager(create_app(settings, open_context)) as manager:
        yield manager.app


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=ROOT)
