"""Store tests run on the real server, whose store is empty before each."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.settings import RedisSettings
from shared.store.script import Store
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shapes import FILE, Shape, add, held, named, unnamed
from tests.support.store import Records

SPOILING = {"test_bad_records", "test_layout"}
"""They write what no process does."""


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture(scope="session")
def _seen() -> Iterator[dict[str, Shape]]:
    """The shapes of all that these tests' stores held. The rule is in CONTRIBUTING.md."""
    seen: dict[str, Shape] = {}
    yield seen
    lacks = unnamed(seen, named(FILE.read_text(encoding="utf-8"))[1])
    assert not lacks, "shared/store/shapes.toml does not name\n" + "\n".join(lacks)


@pytest.fixture
def store(server: RedisServer, request: pytest.FixtureRequest, _seen: dict[str, Shape]) -> Iterator[Store]:
    server.empty()
    with Redis(port=server.port, decode_responses=True) as client:
        yield Store(client)
        if request.path.stem not in SPOILING:
            add(_seen, held(client))


@pytest.fixture
def real_store(store: Store) -> Store:
    return store


@pytest.fixture
def redis_settings(server: RedisServer) -> RedisSettings:
    server.empty()
    return RedisSettings.model_validate({"url": server.url()})


@pytest.fixture
def records(store: Store) -> Records:
    return Records(store)
