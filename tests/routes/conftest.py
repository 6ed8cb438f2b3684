"""The application over a real record store, with a worker in the test's hand."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asgi_lifespan import LifespanManager

from api.app import create_app
from shared.models import load_models
from shared.settings import ApiSettings, BlobSettings, RedisSettings, Settings
from shared.store.script import connect
from tests.support.hand import Hand
from tests.support.redis_server import RedisServer, redis_server

MODELS = """
[[models]]
id = "sightline/tiny"
engine = "echo"
"""


@dataclass
class Stage:
    """A started application, the store under it and a worker."""

    app: Any
    server: RedisServer
    hand: Hand


@pytest.fixture(scope="session")
def _server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def stage(_server: RedisServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty store; the model has no worker until the hand's first beat."""
    _server.empty()
    models_file = tmp_path / "models.toml"
    models_file.write_text(MODELS, encoding="utf-8")
    settings = Settings(
        models_file=models_file,
        redis=RedisSettings(url=_server.url()),
        blobs=BlobSettings(url=str(tmp_path / "blobs")),
        api=ApiSettings(leave_grace_s=0, keepalive_s=0.05),
    )
    store = connect(settings.redis)
    hand = Hand(settings, store, load_models(models_file).rows[0])
    async with LifespanManager(create_app(settings)) as manager:
        yield Stage(manager.app, _server, hand)
    store.client.close()
