"""The primary is whom the Sentinels name: for records, wake-ups and broker, before a failover and after."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kombu.entity import Queue

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store import jobs
from shared.store.nudges import AsyncNudger, Nudger
from shared.store.pipelined_store import connect_pipelined
from shared.store.script import Store, connect, connect_async
from shared.store.server import probe
from shared.store.wakeups import WorkerWakeup
from tests.support.clients import until, until_async
from tests.support.sentinels import Group, sentinels
from tests.support.store import SETTINGS, Records
from tests.support.tls import certificates
from worker.celery_app import make_app

LIMIT_S = 60


@pytest.fixture
def group() -> Iterator[Group]:
    with sentinels() as started:
        yield started


@pytest.fixture(params=["plain", "TLS"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Group, RedisSettings]]:
    made = certificates(tmp_path) if request.param == "TLS" else None
    with sentinels(made) as started:
        own = {"tls_ca": made.ca} if made else {}
        yield started, RedisSettings.model_validate({"url": started.url, **own})


def there(store: Store, job: str) -> bool:
    with suppress(Unavailable):
        return store.run(jobs.view(SETTINGS, "anyone", job)) is not None
    return False


def nudged(app: Any) -> int:
    """Nudges that a Celery worker would take from the broker now."""
    taken = list[Any]()
    with (
        app.connection_for_read() as connection,
        app.amqp.TaskConsumer(connection, [Queue("lane")], on_message=taken.append),
    ):
        connection.drain_events(timeout=LIMIT_S)
    return len(taken)


def test_a_failover_is_followed_by_every_client_and_what_was_replicated_is_there(
    services: tuple[Group, RedisSettings],
) -> None:
    group, redis = services
    store, pipelined = connect(redis), connect_pipelined(redis)
    nudger, app = Nudger(redis), make_app("test", redis)
    job = Records(store).submit("a question").id
    assert nudger.send("lane")
    assert nudged(app) == 1
    group.lose_primary()
    for each in (store, pipelined):
        until(partial(there, each, job))
    until(lambda: nudger.send("lane"))
    assert nudged(app) == 1
    assert not probe(redis.store_url).replica
    for closed in (store.client, pipelined.client, nudger._client):
        closed.close()
    app.close()


async def test_the_api_s_connections_lead_to_the_new_primary(services: tuple[Group, RedisSettings]) -> None:
    group, redis = services
    store, nudger = connect_async(redis), AsyncNudger(redis)
    threads = connect(redis)
    job = (await asyncio.to_thread(Records(threads).submit, "a question")).id
    threads.client.close()
    assert await nudger.send(["lane"])
    await asyncio.to_thread(group.lose_primary)

    async def view() -> Any:
        with suppress(Unavailable):
            return await store.run(jobs.view(SETTINGS, "anyone", job))
        return False

    async def sent() -> bool:
        return await nudger.send(["lane"])

    assert (await until_async(view)).id == job
    assert await until_async(sent)
    await nudger.aclose()
    await store.aclose()


def test_no_accepted_job_is_lost_in_a_planned_failover() -> None:
    """The former primary takes jobs for a while, and the other replica still acknowledges them."""
    accepted: list[str] = []
    handed_over = threading.Event()

    def submit_jobs(redis: RedisSettings) -> None:
        records = Records(connect_pipelined(redis))
        while not handed_over.is_set():
            with suppress(Unavailable):
                accepted.append(records.submit("a question").id)
        records.client.close()

    with sentinels(replicas=2) as group, ThreadPoolExecutor() as threads:
        redis = RedisSettings.model_validate({"url": group.url, "acknowledge": "replica"})
        submitting = threads.submit(submit_jobs, redis)
        try:
            until(lambda: accepted)
            group.hand_over()
        finally:
            handed_over.set()
        submitting.result()
        store = connect(RedisSettings.model_validate({"url": group.url}))
        assert [job for job in accepted if not there(store, job)] == []
        store.client.close()


def test_a_worker_s_subscription_is_made_with_the_new_primary(group: Group) -> None:
    redis = RedisSettings.model_validate({"url": group.url})
    wakeup = WorkerWakeup(redis, "worker")
    assert wakeup.wait(0.01)
    group.lose_primary()
    until(lambda: wakeup.wait(0.01))
    wakeup._pubsub.close()
    wakeup._pubsub.connection_pool.close()
