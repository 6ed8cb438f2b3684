"""A worker over a real record store, emptied before each test."""

from collections.abc import Iterator

import pytest

from tests.support.attempt_harness import Workbench, workbench
from tests.support.redis_server import RedisServer, redis_server


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(_redis: RedisServer) -> RedisServer:
    _redis.empty()
    return _redis


@pytest.fixture
def desk(redis: RedisServer) -> Iterator[Workbench]:
    with workbench(redis) as bench:
        yield bench
