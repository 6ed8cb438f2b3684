"""The application over a real record store, with a worker in the test's hand."""

import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from asgi_lifespan import LifespanManager

from api.admission import submission
from api.app import create_app
from api.server import middleware
from shared.metrics.api_counters import ADMITTED, BATCH_LINES, HTTP, HTTP_SECONDS, REFUSALS
from shared.models_file import load_models
from shared.settings import (
    ApiSettings,
    BlobSettings,
    MetricsSettings,
    PictureSettings,
    QueueSettings,
    RedisSettings,
    Settings,
    WebhookSettings,
)
from shared.store.script import CONNECTION, connect
from tests.support.app import client_of
from tests.support.app_server import listening
from tests.support.redis_server import RedisServer, redis_server
from tests.support.scripted_worker import ScriptedWorker

MODELS = """
[[models]]
id = "sightline/tiny"
engine = "echo"

[[models]]
id = "org/bare"
source = "{bare}"
engine = "sequential"
"""
TINY = Path(__file__).parents[2] / "models" / "tiny"
BARE_BYTES = 500_000_000
PLACES_IN_LINE = 3
STILL_S = 60
"""For so long the machine may stand still without a limit of the service's being what a test sees."""
UNHURRIED: dict[str, dict[str, Any]] = {
    "api": {"leave_grace_s": 0, "head_start_s": STILL_S, "keepalive_s": STILL_S},
    "queue": {"max_queued": PLACES_IN_LINE, "worker_ttl_s": 10 * STILL_S},
}
"""What a test does not say otherwise: headers wait for the first event, and a worker's beat lasts."""


@dataclass
class Deployment:
    """A started application, the store under it and a worker.

    Besides the worker's model it serves org/bare, which was never loaded.
    """

    app: Any
    server: RedisServer
    worker: ScriptedWorker


async def asked(deployment: Deployment, body: dict[str, Any], path: str = "/v1/jobs") -> Any:
    async with client_of(deployment.app) as client:
        return await client.post(path, json=body)


def problem(refused: Any) -> tuple[int, str, str]:
    error = refused.json().get("error", refused.json())
    return refused.status_code, error["code"], error["param"]


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """How often the server was told to end, as uvicorn hears of it; this process outlives it."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def _server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def _bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, as far as the front end looks; its weights are a hole."""
    folder = tmp_path_factory.mktemp("routes") / "bare"
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(BARE_BYTES)
    return folder


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is there is never taken for one that hangs."""
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", STILL_S)
    monkeypatch.setitem(CONNECTION, "socket_timeout", STILL_S)
    monkeypatch.setitem(CONNECTION, "socket_connect_timeout", STILL_S)


@pytest.fixture(autouse=True)
def _healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is any, in a process's health."""
    monkeypatch.setattr("api.routes.health.STORE_LIMIT_S", STILL_S)
    monkeypatch.setattr("shared.blobs.REACHED_S", STILL_S)


@pytest.fixture
def _uncounted() -> None:
    """Each application counts from 0, as a process of its own would."""
    for counting in (ADMITTED, BATCH_LINES, HTTP, HTTP_SECONDS, REFUSALS):
        counting.clear()
    middleware._series.cache_clear()
    submission._admitted.cache_clear()


@pytest.fixture
async def deployment(
    _server: RedisServer,
    _bare: Path,
    _patient: None,
    _uncounted: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Deployment]:
    """An empty store; the model has no worker until the scripted one's first beat.

    Parametrized indirectly it takes settings by group, `api`, `queue`, `webhook` and `pictures`.
    """
    _server.empty()
    said: dict[str, dict[str, Any]] = getattr(request, "param", {})
    models_file = tmp_path / "models.toml"
    models_file.write_text(MODELS.format(bare=_bare), encoding="utf-8")
    settings = Settings(
        models_file=models_file,
        redis=RedisSettings(url=_server.url()),
        blobs=BlobSettings(url=str(tmp_path / "blobs")),
        queue=QueueSettings(**UNHURRIED["queue"] | said.get("queue", {})),
        api=ApiSettings(**UNHURRIED["api"] | said.get("api", {})),
        webhook=WebhookSettings(**said.get("webhook", {})),
        pictures=PictureSettings(**said.get("pictures", {})),
        metrics=MetricsSettings(**said.get("metrics", {})),
    )
    store = connect(settings.redis)
    worker = ScriptedWorker(settings, store, load_models(models_file).rows[0])
    async with LifespanManager(create_app(settings)) as manager:
        yield Deployment(manager.app, _server, worker)
    store.client.close()


@pytest.fixture
async def client(deployment: Deployment) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's, on a socket."""
    async with (
        listening(deployment.app) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as found,
    ):
        yield found


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells the store what was refused, between two looks at all that it holds.

    Asked for by a mark, which goes before the deployment's start.
    """
    monkeypatch.setattr("api.metrics.TELL_S", 3600.0)


@pytest.fixture
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turns of a batch follow each other without a pause."""
    monkeypatch.setattr("api.batches.turn.BUSY_S", 0.0)
    monkeypatch.setattr("api.batches.turn.IDLE_S", 0.02)
