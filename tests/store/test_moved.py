"""An address that leads to another server from one moment on, as a managed Redis's does in a failover."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from redis import Redis

from shared.settings import RedisSettings
from shared.store import exchange, jobs
from shared.store.nudges import AsyncNudger, Nudger
from shared.store.pipelined_store import connect_pipelined
from shared.store.script import connect, connect_async
from tests.support.clients import until
from tests.support.existing import existing
from tests.support.front import front
from tests.support.redis_server import RedisServer, redis_server
from tests.support.store import LANE, SETTINGS, Records


class Endpoint:
    """`lives` is whether the server that it leaves goes on, as the replica of the other."""

    def __init__(self, port: int, servers: list[RedisServer], *, lives: bool) -> None:
        self.redis = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{port}/0"})
        self._servers, self._lives = servers, lives

    def move(self) -> None:
        old, new = self._servers
        with Redis(port=old.port) as client, Redis(port=new.port) as other:
            until(lambda: client.set("here", 1) and client.wait(1, 100))
            other.replicaof("NO", "ONE")
            self._servers.reverse()
            if self._lives:
                client.replicaof("127.0.0.1", new.port)
        if not self._lives:
            old.kill()


@pytest.fixture(params=[True, False], ids=["demoted", "gone"])
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(exchange, "DEMOTED_S", 0)
    with ExitStack() as stack:
        first = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(redis_server("--replicaof", f"127.0.0.1 {first.port}"))
        servers = [first, replica]
        port = stack.enter_context(front(lambda _: servers[0].port))
        yield Endpoint(port, servers, lives=request.param)
        if not request.param:
            first.start()


async def test_calls_that_a_former_primary_refused_are_repeated_at_its_successor(endpoint: Endpoint) -> None:
    """No caller sees the move: each client's next call is answered, on a new connection."""
    redis = endpoint.redis
    tasks, async_nudger, nudger = connect_async(redis), AsyncNudger(redis), Nudger(redis)
    threads = [Records(connect(redis)), Records(connect_pipelined(redis))]
    job, *others = [threads[0].submit(str(number)).id for number in range(3)]
    await tasks.run(jobs.lane(SETTINGS, LANE))
    assert await async_nudger.send([LANE])
    assert nudger.send(LANE)
    endpoint.move()
    view: Any = await tasks.run(jobs.cancel(SETTINGS, "anyone", job))
    assert view.status == "cancelled"
    for records, other in zip(threads, others, strict=True):
        cancelled = existing(records.cancel(other))
        assert cancelled.status == "cancelled"
    assert await async_nudger.send([LANE])
    until(partial(nudger.send, LANE))
    for closed in (*(records.client for records in threads), nudger._client):
        closed.close()
    await async_nudger.aclose()
    await tasks.aclose()
