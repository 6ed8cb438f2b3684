"""Accepted means replicated, or on the disk: nobody is told otherwise, and a repeat finds what was done."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

import pytest
from redis import Redis

from shared.settings import RedisSettings
from shared.store import acknowledgement, jobs, script
from shared.store.acknowledgement import Unacknowledged
from shared.store.admission import submit
from shared.store.headroom import takes_writes
from shared.store.pipelined_store import connect_pipelined
from shared.store.script import AsyncStore, Store, connect, connect_async
from tests.support import hooks
from tests.support.clients import until, until_async
from tests.support.existing import existing
from tests.support.redis_server import RedisServer, redis_server
from tests.support.store import SETTINGS, Records, answer

SHORT_MS = 50
NOT_TOLD = (
    "0 of 1 replicas have it .SIGHTLINE_REDIS__ACKNOWLEDGE=replica.; try again, with the same Idempotency-Key"
)


class Replicated:
    def __init__(self, primary: RedisServer, replica: RedisServer) -> None:
        self.primary, self._replica = primary, replica
        self.redis = RedisSettings.model_validate({"url": primary.url(), "acknowledge": "replica"})

    @contextmanager
    def lagging(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The replica gets nothing meanwhile."""
        with monkeypatch.context() as short, Redis(port=self.primary.port) as client:
            until(lambda: client.set("here", 1) and client.wait(1, 100))
            short.setattr(acknowledgement, "LIMIT_MS", SHORT_MS)
            self._replica.process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                self._replica.process.send_signal(signal.SIGCONT)
        with Redis(port=self.primary.port) as client:
            until(lambda: client.set("here", 2) and client.wait(1, 100))


@pytest.fixture
def replicated() -> Iterator[Replicated]:
    with (
        redis_server("--repl-diskless-sync-delay", "0") as primary,
        redis_server("--replicaof", f"127.0.0.1 {primary.port}") as replica,
    ):
        yield Replicated(primary, replica)


async def test_no_job_is_accepted_or_shown_that_only_the_primary_has(
    replicated: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(Store(Redis(port=replicated.primary.port, decode_responses=True)))
    placing = records.placing("a question")
    call, view = submit(placing, SETTINGS), jobs.view(SETTINGS, "anyone", placing.job)
    with replicated.lagging(monkeypatch):
        stores = [connect_async(replicated.redis) for _ in range(2)]
        with pytest.raises(Unacknowledged, match=NOT_TOLD):
            await stores[0].run(call)
        # Another process wrote nothing: the job is there, and it must not say so either.
        with pytest.raises(Unacknowledged):
            await stores[1].run(call)
        with pytest.raises(Unacknowledged):
            await stores[1].run(view)
        with pytest.raises(Unacknowledged):
            await takes_writes(stores[1], SETTINGS)
        assert (await stores[1].run(jobs.lane(SETTINGS, placing.lane))).queued == 1
        for store in stores:
            await store.aclose()
    stores = [connect_async(replicated.redis) for _ in range(2)]
    replies = [await store.run(call) for store in (*stores, *stores)]
    assert [reply.view and reply.view.id for reply in replies] == [placing.job] * 4
    assert await takes_writes(stores[1], SETTINGS)
    assert (await stores[1].run(jobs.lane(SETTINGS, placing.lane))).queued == 1
    for store in stores:
        await store.aclose()
    records.client.close()


def test_a_worker_s_end_is_not_told_that_only_the_primary_has_and_its_leases_do_not_wait(
    replicated: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Records(Store(Redis(port=replicated.primary.port, decode_responses=True)))
    job = hooks.submit(plain).id
    with replicated.lagging(monkeypatch):
        records = Records(connect_pipelined(replicated.redis))
        claim = records.claim()
        assert records.renew(claim) == []
        with pytest.raises(Unacknowledged):
            records.settle(claim)
        with pytest.raises(Unacknowledged):
            records.next_delivery()
        assert plain.view(job).ended
        records.client.close()
    records = Records(connect_pipelined(replicated.redis))
    assert records.settle(claim, answer()) == "settled"
    assert records.view(job).status == "succeeded"
    records.client.close()
    plain.client.close()


def test_the_command_line_waits_as_well(replicated: Replicated, monkeypatch: pytest.MonkeyPatch) -> None:
    with replicated.lagging(monkeypatch):
        store = connect(replicated.redis)
        with pytest.raises(Unacknowledged):
            Records(store).submit()
        store.client.close()


@pytest.fixture
def next_primary(replicated: Replicated) -> Iterator[RedisServer]:
    """A second replica."""
    with redis_server("--replicaof", f"127.0.0.1 {replicated.primary.port}") as second:
        with Redis(port=replicated.primary.port) as client:
            until(lambda: client.set("here", 3) and client.wait(2, 100) == 2)
        yield second
        second.process.send_signal(signal.SIGCONT)


async def submitted(connecting: Callable[[RedisSettings], Any], replicated: Replicated) -> str:
    """What a client answers that does not know yet how many replicas there are."""
    store = connecting(replicated.redis)
    try:
        reply = store.run(submit(Records(store).placing("a question"), SETTINGS))
        if isawaitable(reply):
            await reply
        return "accepted"
    except Unacknowledged as error:
        return error.message
    finally:
        await store.aclose() if isinstance(store, AsyncStore) else store.client.close()


@pytest.mark.parametrize("connecting", [connect, connect_pipelined, connect_async])
@pytest.mark.parametrize("way", ["promoted", "lags"])
async def test_no_job_is_accepted_that_the_next_primary_lacks(
    replicated: Replicated,
    next_primary: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    connecting: Callable[[RedisSettings], Any],
) -> None:
    """In a planned failover the other replica still acknowledges what the former primary takes."""
    assert await submitted(connecting, replicated) == "accepted"
    monkeypatch.setattr(acknowledgement, "LIMIT_MS", SHORT_MS)
    if way == "promoted":
        with Redis(port=next_primary.port) as client:
            client.replicaof("NO", "ONE")
    else:
        next_primary.process.send_signal(signal.SIGSTOP)
    refusal = await submitted(connecting, replicated)
    assert refusal.startswith("Not acknowledged: 1 of 2 replicas have it")
    # One that does not come back stops the service for a while only.
    monkeypatch.setattr(script, "GONE_S", 0)

    async def accepted() -> bool:
        return await submitted(connecting, replicated) == "accepted"

    await until_async(accepted)


def opened(server: RedisServer) -> Records:
    redis = RedisSettings.model_validate({"url": server.url(), "acknowledge": "disk"})
    return Records(connect_pipelined(redis))


@pytest.fixture
def durable(server: RedisServer) -> Iterator[Records]:
    server.empty()
    records = opened(server)
    with records.client as client:
        client.config_set("appendfsync", "always")
        yield records
        client.config_set("appendfsync", "no")


def test_a_store_that_does_not_write_its_disk_accepts_nothing(
    server: RedisServer, durable: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing = durable.placing()
    durable.client.config_set("appendfsync", "no")
    monkeypatch.setattr(acknowledgement, "LIMIT_MS", SHORT_MS)
    hasty = opened(server)
    with hasty.client, pytest.raises(Unacknowledged, match="disk lacks it"):
        hasty.post(placing)
    durable.client.config_set("appendfsync", "always")
    view = existing(durable.post(placing).view)
    assert view.id == placing.job
    assert durable.waiting() == 1


@pytest.mark.parametrize("forgets", [True, False])
def test_a_store_that_is_full_or_forgot_its_functions_acknowledges_ends(
    server: RedisServer, durable: Records, *, forgets: bool
) -> None:
    durable.submit()
    claim = durable.claim()
    if forgets:
        durable.client.function_flush()
    else:
        with server.full():
            assert durable.settle(claim) == "settled"
    assert durable.settle(claim) == "settled"
