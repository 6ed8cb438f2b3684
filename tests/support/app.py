"""The application over a scripted `FakeService`, as an in-process HTTP client meets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any, cast

import httpx
from asgi_lifespan import LifespanManager

from api.admission.documents import Documents
from api.admission.forecast import Forecaster
from api.admission.media_check import PictureInfoCache
from api.app import create_app
from api.auth.api_keys import ApiKeys
from api.batches.lease import BatchContext
from api.batches.service import Batches
from api.context import ProcessContext
from api.files import Files, FileWriter
from api.jobs.disconnects import Disconnects
from api.jobs.live import SharedPolls
from api.jobs.pictures import JobPictures
from api.metrics import Metrics
from api.models_admin import LiveModels
from api.server.memory_budget import MemoryBudget
from shared.blobs import Blobs
from shared.media.documents import DocumentRenderer
from shared.models import Model, Models
from shared.settings import ApiSettings, BlobSettings, Settings
from shared.store.headroom import Charges, Headroom, Memory
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, ScriptCall, connect_async
from shared.store.wakeups import Wakeups
from tests.support.fake_service import CREATED_MS, FakeService

ROOT = "http://127.0.0.1"
MODELS = Models(
    (
        Model(id="sightline/tiny", source="sightline/tiny"),
        Model(id="org/other", source="org/other", revision="abc"),
    )
)
JSON = {"content-type": "application/json"}


class EmptyStore(Headroom):
    async def memory(self) -> Memory:
        return Memory(0, 0, evicts=False)

    async def charges(self) -> Charges:
        return Charges(0, ())


class NoConnection:
    async def aclose(self) -> None:
        """There is none."""


REPLIES = {"writable": 1, "series": [CREATED_MS, []], "record_read": [[]], "statuses": [[], ""]}


class FakeStore(NoConnection):
    """Takes writes and holds nothing, unless its service refuses."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    async def run(self, call: ScriptCall[Any]) -> Any:
        if self._service.refusal is not None:
            raise self._service.refusal
        return call.parse(REPLIES[call.function])


@asynccontextmanager
async def serving(service: FakeService, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; `api` are its settings where they differ from the defaults."""
    async with application(service, **api) as app, client_of(app) as client:
        yield client


@asynccontextmanager
async def application(service: FakeService, **api: Any) -> AsyncIterator[Any]:
    """The started ASGI application itself."""

    async def open_context(settings: Settings) -> ProcessContext:
        leaving = Disconnects(service, settings.api.leave_grace_s)
        # No key is configured, so that the store is never asked.
        store = connect_async(settings.redis)
        blobs, headroom = Blobs(settings.blobs), EmptyStore(store, settings.redis.full_at)
        context = BatchContext(
            settings, store, blobs, FileWriter(store, blobs), service, DocumentRenderer(settings)
        )
        return ProcessContext(
            settings=settings,
            models=MODELS,
            serving=LiveModels(MODELS, store),
            submission=service,
            forecaster=Forecaster(settings, MODELS, store, service),
            jobs=service,
            polls=SharedPolls(),
            pictures=JobPictures(settings, store, blobs, PictureInfoCache(settings.pictures, blobs)),
            waiting=service,
            disconnects=leaving,
            api_keys=ApiKeys(settings.api, store),
            headroom=headroom,
            files=Files(settings, store, blobs, headroom),
            documents=Documents(settings, Files(settings, store, blobs, headroom)),
            batches=Batches(context, headroom),
            blobs=blobs,
            metrics=Metrics(settings, MODELS, store, headroom),
            store=cast(AsyncStore, FakeStore(service)),
            nudger=cast(AsyncNudger, NoConnection()),
            wakeups=cast(Wakeups, NoConnection()),
            pages=MemoryBudget(),
        )

    said = ApiSettings(**{"keepalive_s": 0.01, "leave_grace_s": 0, "head_start_s": 60, **api})
    with TemporaryDirectory() as folder:
        settings = Settings(api=said, blobs=BlobSettings(url=folder))
        async with LifespanManager(create_app(settings, open_context)) as manager:
            yield manager.app


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=ROOT)
