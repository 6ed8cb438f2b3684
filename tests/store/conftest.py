"""Store tests run on the real server."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.settings import RedisSettings
from shared.store.script import Store
from tests.support.redis_server import RedisServer, redis_server
from tests.support.store import Records


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture
def store(server: RedisServer) -> Iterator[Store]:
    """Empty."""
    server.empty()
    with Redis(port=server.port, decode_responses=True) as client:
        yield Store(client)


@pytest.fixture
def redis_settings(server: RedisServer) -> RedisSettings:
    server.empty()
    return RedisSettings.model_validate({"url": server.url()})


@pytest.fixture
def records(store: Store) -> Records:
    return Records(store)
