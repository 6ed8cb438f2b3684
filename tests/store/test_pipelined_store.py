"""Threads' calls share round trips, and each one gets its own answer or error."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store import jobs
from shared.store.pipelined_store import PipelinedStore, connect_pipelined
from shared.store.script import ScriptCall, Store
from tests.support.clients import until
from tests.support.ports import free_port
from tests.support.store import SETTINGS, Records

THREADS = 5
LANE = jobs.lane(SETTINGS, "model.m")


class GatedStore(PipelinedStore):
    """Its exchanges wait at a gate; says how many calls each one had."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.gate = threading.Event()
        self.counts: list[int] = []

    def _read_all(self, count: int) -> list[Any]:
        self.counts.append(count)
        assert self.gate.wait(30)
        return super()._read_all(count)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def ask_all(
    threads: ThreadPoolExecutor, store: GatedStore, calls: Sequence[ScriptCall[Any]]
) -> list[Future[Any]]:
    """The first call is in an exchange while the others come; then the gate opens."""
    answers = [threads.submit(store.run, calls[0])]
    until(lambda: store.counts)
    answers += [threads.submit(store.run, call) for call in calls[1:]]
    until(lambda: len(store._waiting) == len(calls) - 1)
    store.gate.set()
    return answers


def views(records: Records) -> tuple[list[str], list[ScriptCall[Any]]]:
    ids = [records.submit(str(number)).id for number in range(THREADS)]
    return ids, [jobs.view(SETTINGS, "anyone", job) for job in ids]


def test_what_threads_ask_in_an_exchange_shares_the_next(store: Store, threads: ThreadPoolExecutor) -> None:
    ids, calls = views(Records(store))
    gated = GatedStore(store.client)
    assert [answer.result().id for answer in ask_all(threads, gated, calls)] == ids
    assert gated.counts == [1, THREADS - 1]
    assert store.run(LANE).state == "no_worker"
    assert gated.run_all([]) == []


def test_threads_are_answered_where_a_signal_ends_the_one_that_receives(
    store: Store, threads: ThreadPoolExecutor
) -> None:
    class InterruptedStore(GatedStore):
        def _read_all(self, count: int) -> list[Any]:
            replies = super()._read_all(count)
            if len(self.counts) == 2:
                raise KeyboardInterrupt
            return replies

    ids, calls = views(Records(store))
    first, *others = ask_all(threads, InterruptedStore(store.client), calls)
    assert first.result().id == ids[0]
    errors = [answer.exception() for answer in others]
    assert [type(error) for error in errors].count(KeyboardInterrupt) == 1
    assert {a.result().id for a in others if not a.exception()} < set(ids[1:])


def test_threads_are_all_answered_by_a_store_that_forgot_its_functions(
    store: Store, threads: ThreadPoolExecutor
) -> None:
    ids, calls = views(Records(store))
    store.client.function_flush()
    gated = GatedStore(store.client)
    assert [answer.result().id for answer in ask_all(threads, gated, calls)] == ids


def test_a_call_that_cannot_be_sent_fails_alone(store: Store) -> None:
    store = PipelinedStore(store.client)
    with pytest.raises(ValueError, match="unknown type"):
        store.run(ScriptCall("lane", {"lane": object()}, str))
    assert store.run(LANE).state == "no_worker"


def test_every_thread_learns_that_the_store_is_out_of_reach(threads: ThreadPoolExecutor) -> None:
    with Redis(port=free_port(), retry=Retry(NoBackoff(), 0), decode_responses=True) as client:
        for answer in ask_all(threads, GatedStore(client), [LANE] * THREADS):
            with pytest.raises(Unavailable, match="out of reach"):
                answer.result()


def test_a_connection_that_was_lost_is_made_again(redis_settings: RedisSettings) -> None:
    store = connect_pipelined(redis_settings)
    with store.client as client:
        assert store.run(LANE).state == "no_worker"
        client.client_kill_filter(_type="normal", skipme=True)
        assert [lane.state for lane in store.run_all([LANE] * 2)] == ["no_worker"] * 2
