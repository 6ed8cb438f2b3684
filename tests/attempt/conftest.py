"""A worker over a real record store, emptied before each test."""

from collections.abc import Iterator

import pytest

from tests.support.attempt_harness import WorkerHarness, worker_harness
from tests.support.deliverer_harness import DelivererHarness
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
def harness(redis: RedisServer) -> Iterator[WorkerHarness]:
    with worker_harness(redis) as harness:
        yield harness


@pytest.fixture
def webhooks(harness: WorkerHarness, redis: RedisServer) -> DelivererHarness:
    return DelivererHarness(harness, redis)
