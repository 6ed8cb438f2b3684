"""Store tests run on the real server, some of each subject also on fakeredis, whose Lua is another one."""

from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from redis import Redis

from shared.settings import RedisSettings
from shared.store.script import Store
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shapes import FILE, Shape, add, held, named, unnamed
from tests.support.store import Records

FAKED = {
    "test_batches",
    "test_cancel",
    "test_claim",
    "test_endpoints",
    "test_files",
    "test_give_back",
    "test_hooks",
    "test_idempotency",
    "test_intake",
    "test_join",
    "test_keyring",
    "test_lease",
    "test_list",
    "test_machine",
    "test_models",
    "test_purge",
    "test_retention",
    "test_rows",
    "test_settle",
    "test_submit",
}
"""Which run on both: fakeredis takes several times as long for each call."""

SPOILING = {"test_bad_records", "test_layout"}
"""They write what no process does."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        faked = metafunc.definition.path.stem in FAKED
        metafunc.parametrize("store", ["server", "fakeredis"] if faked else ["server"], indirect=True)


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
def real_store(
    server: RedisServer, request: pytest.FixtureRequest, _seen: dict[str, Shape]
) -> Iterator[Store]:
    """The real server, empty: for what fakeredis does not have."""
    server.empty()
    with Redis(port=server.port, decode_responses=True) as client:
        yield Store(client)
        if request.path.stem not in SPOILING:
            add(_seen, held(client))


@pytest.fixture
def redis_settings(server: RedisServer) -> RedisSettings:
    server.empty()
    return RedisSettings.model_validate({"url": server.url()})


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "server":
        yield request.getfixturevalue("real_store")
        return
    fake: Any = fakeredis.FakeServer(version=(7,))
    with fakeredis.FakeRedis(server=fake, decode_responses=True) as client:
        yield Store(client)


@pytest.fixture
def records(store: Store) -> Records:
    return Records(store)
