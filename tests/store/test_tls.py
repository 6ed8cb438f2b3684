"""A record store over TLS: each client looks at its certificate, and shows its own where it is asked for."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.settings import RedisSettings, Settings
from shared.store import jobs
from shared.store.nudges import AsyncNudger, Nudger
from shared.store.script import connect, connect_async
from shared.store.server import probe
from shared.store.wakeups import Wakeups, WorkerWakeup
from tests.support.redis_server import RedisServer
from tests.support.store import LANE
from tests.support.tls import Certificates, certificates, tls_front
from worker.celery_app import make_app

# A client that refuses the server hangs up in the greeting; asyncio leaves the front's end to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OURS = Settings()
REFUSED = (Unavailable, RedisError, OSError, OperationalError)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=[False, True], ids=["server's", "both"])
def redis(request: pytest.FixtureRequest, server: RedisServer, made: Certificates) -> Iterator[RedisSettings]:
    """A server over TLS, which asks its clients for a certificate the second time."""
    server.empty()
    with tls_front(server.port, made, asks_clients=request.param) as port:
        own = {"tls_cert": made.client_cert, "tls_key": made.client_key} if request.param else {}
        yield RedisSettings.model_validate({"url": f"rediss://127.0.0.1:{port}/0", "tls_ca": made.ca, **own})


async def by_asyncio(redis: RedisSettings) -> bool:
    store, nudger = connect_async(redis), AsyncNudger(redis)
    try:
        await store.run(jobs.lane(OURS, LANE))
        return await nudger.send([LANE])
    finally:
        await nudger.aclose()
        await store.aclose()


async def hears(redis: RedisSettings) -> bool:
    wakeups = Wakeups(redis)
    await wakeups.open()
    try:
        async with wakeups.listen("run_1") as listener:
            with connect(redis).client as client:
                client.publish("sl9:wake:run_1", "state")
            await listener.wait(10)
        return True
    finally:
        await wakeups.aclose()


def by_threads(redis: RedisSettings) -> bool:
    store = connect(redis)
    with store.client:
        store.run(jobs.lane(OURS, LANE))
    return Nudger(redis).send(LANE)


def by_celery(redis: RedisSettings) -> bool:
    with make_app("test", redis).connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=20)
        return bool(connection.default_channel.client.ping())


CLIENTS: dict[str, Callable[[RedisSettings], bool]] = {
    "threads": by_threads,
    "asyncio": lambda redis: asyncio.run(by_asyncio(redis)),
    "wake-ups": lambda redis: asyncio.run(hears(redis)),
    "a worker's ear": lambda redis: WorkerWakeup(redis, "worker_1").wait(0.1),
    "Celery": by_celery,
    "the look at start": lambda redis: bool(probe(redis.store_url).name),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_reaches_a_store_over_tls(redis: RedisSettings, name: str) -> None:
    assert CLIENTS[name](redis)


@pytest.mark.parametrize("name", ["threads", "asyncio", "Celery", "the look at start"])
def test_a_server_that_another_authority_signed_for_is_told_no_password(
    redis: RedisSettings, name: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = redis.model_copy(update={"tls_ca": certificates(tmp_path / "other").ca})
    with pytest.raises(REFUSED) as refused:
        CLIENTS[name](stranger)
    assert "certificate" in f"{refused.value} {refused.value.__cause__}".lower()


@pytest.mark.parametrize("name", ["threads", "Celery"])
def test_a_certificate_for_another_host_is_refused(server: RedisServer, tmp_path: Path, name: str) -> None:
    other = certificates(tmp_path, "10.0.0.7")
    with tls_front(server.port, other) as port:
        redis = RedisSettings.model_validate({"url": f"rediss://127.0.0.1:{port}/0", "tls_ca": other.ca})
        with pytest.raises(REFUSED):
            CLIENTS[name](redis)


def test_a_server_that_asks_for_our_certificate_gets_none_of_our_work_without(
    server: RedisServer, made: Certificates
) -> None:
    with tls_front(server.port, made, asks_clients=True) as port:
        redis = RedisSettings.model_validate({"url": f"rediss://127.0.0.1:{port}/0", "tls_ca": made.ca})
        with pytest.raises(REFUSED):
            by_threads(redis)
