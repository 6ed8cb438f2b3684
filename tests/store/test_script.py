"""Calls of the library: a store that lost it is told again; one out of reach says so in one way."""

import asyncio
import threading
from concurrent.futures import Future
from typing import Any, cast

import pytest
from redis import Redis
from redis.asyncio.connection import DefaultParser
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import Unavailable
from shared.job import JobView
from shared.settings import RedisSettings
from shared.store import jobs, maintenance
from shared.store.admission import submit
from shared.store.claims import published
from shared.store.script import LoopStore, Store, connect, connect_async
from tests.support.existing import existing
from tests.support.ports import free_port
from tests.support.store import SETTINGS, Records

LIMIT_S = 60


def test_a_store_that_forgot_its_scripts_is_told_them_again(records: Records) -> None:
    job = records.submit().id
    records.client.function_flush()
    assert records.view(job).status == "queued"


def test_one_call_in_a_round_trip_of_several_that_a_store_forgot_is_told_again(records: Records) -> None:
    ids = [records.submit(str(number)).id for number in range(3)]
    calls = [jobs.view(SETTINGS, "anyone", job) for job in ids]
    records.client.function_flush()
    views = records.store.run_all([*calls, jobs.view(SETTINGS, "somebody else", ids[0])])
    assert [view and view.id for view in views] == [*ids, None]


async def test_threads_and_asyncio_read_the_same_records(redis_settings: RedisSettings) -> None:
    threads, tasks = connect(redis_settings), connect_async(redis_settings)
    records = Records(threads)
    try:
        submitted = await tasks.run(submit(records.placing(), SETTINGS))
        assert submitted.view is not None
        call = jobs.view(SETTINGS, "anyone", submitted.view.id)
        assert await tasks.run(call) == threads.run(call)
        tasks_client: Any = tasks.client
        await tasks_client.function_flush()
        assert await tasks.run(call) == threads.run(call)
    finally:
        threads.client.close()
        await tasks.aclose()


def test_a_thread_whose_loop_ends_is_told_that_there_is_no_store() -> None:
    """Not that something broke: a process ends while its record store hangs."""
    begun, told = threading.Event(), Future[str]()

    class Hangs:
        async def run(self, _call: object) -> None:
            begun.set()
            await asyncio.Event().wait()

    def ask(store: LoopStore) -> None:
        try:
            store.run(jobs.lane(SETTINGS, "model.m"))
        except Exception as error:
            told.set_result(getattr(error, "code", repr(error)))

    async def process() -> None:
        threading.Thread(target=ask, args=(LoopStore(cast(Any, Hangs())),), daemon=True).start()
        assert await asyncio.to_thread(begun.wait, LIMIT_S)

    asyncio.run(process())
    assert told.result(LIMIT_S) == "stopping"


async def test_a_thread_that_asks_while_its_process_stops_leaves_nothing_to_a_closed_loop(
    redis_settings: RedisSettings,
) -> None:
    tasks = connect_async(redis_settings)
    store, call = LoopStore(tasks), jobs.lane(SETTINGS, "model.m")
    await asyncio.to_thread(store.run, call)
    await tasks.aclose()
    with pytest.raises(Unavailable, match="stopping"):
        await asyncio.to_thread(store.run, call)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def nowhere() -> Store:
    return Store(Redis(port=free_port(), retry=Retry(NoBackoff(), 0), decode_responses=True))


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.run(jobs.lane(SETTINGS, "model.m")),
        lambda store: store.run(maintenance.lead("courier_1", 1000)),
        lambda store: published(store, "run_1"),
    ],
)
def test_a_store_out_of_reach_is_unavailable_whatever_was_asked(use: Any) -> None:
    store = nowhere()
    with store.client, pytest.raises(Unavailable) as refusal:
        use(store)
    assert (refusal.value.code, refusal.value.retry_after) == ("store_unavailable", 5)


async def test_asyncio_callers_learn_it_too() -> None:
    store = connect_async(RedisSettings.model_validate({"url": f"redis://127.0.0.1:{free_port()}/0"}))
    with pytest.raises(Unavailable):
        await store.run(jobs.lane(SETTINGS, "model.m"))
    await store.aclose()


async def test_a_store_is_not_blamed_for_the_time_in_which_this_process_stood_still(
    redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, store = asyncio.get_running_loop(), connect_async(redis_settings)
    usual = loop.time
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", 2 * LIMIT_S)
    call = jobs.lane(SETTINGS, "model.m")
    await store.run(call)
    asking = asyncio.create_task(store.run(call))
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: usual() + 1000)
    assert (await asking).state == "no_worker"
    await store.aclose()


async def test_a_store_that_hangs_is_unavailable_before_the_client_gives_it_up(
    redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, store = connect(redis_settings), connect_async(redis_settings)
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", 0.02)
    threads.client.client_pause(LIMIT_S * 1000, all=False)
    try:
        with pytest.raises(Unavailable, match="out of reach"):
            await store.run(jobs.cancel(SETTINGS, "anyone", "job_1"))
    finally:
        threads.client.client_unpause()
    await store.aclose()
    threads.client.close()


async def test_late_replies_never_mix(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, store = connect(redis_settings), connect_async(redis_settings)
    jobs_of = [Records(threads).submit().id for _ in range(2)]
    views = [jobs.view(SETTINGS, "anyone", job) for job in jobs_of]
    await store.run(views[0])
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", 0.02)
    threads.client.client_pause(LIMIT_S * 1000, all=False)
    try:
        with pytest.raises(Unavailable, match="out of reach"):
            await store.run(jobs.cancel(SETTINGS, "anyone", jobs_of[0]))
    finally:
        threads.client.client_unpause()
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", LIMIT_S)
    found = existing(await store.run(views[1]))
    assert found.id == jobs_of[1]
    await store.aclose()
    threads.client.close()


def test_a_demoted_server_is_unavailable_until_its_successor_is_found(records: Records) -> None:
    job = records.submit().id
    records.client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(Unavailable, match="takes no writes now"):
            records.cancel(job)
    finally:
        records.client.replicaof("NO", "ONE")
    assert records.view(job).status == "queued"


async def test_what_a_demoted_server_can_answer_does_not_wait_for_what_it_refuses(
    redis_settings: RedisSettings,
) -> None:
    threads, tasks = connect(redis_settings), connect_async(redis_settings)
    client: Any = threads.client
    job = Records(threads).submit().id
    cancels = [tasks.run(jobs.cancel(SETTINGS, "anyone", job)) for _ in range(100)]
    client.replicaof("127.0.0.1", free_port())
    try:
        *refused, view = await asyncio.gather(
            *cancels, tasks.run(jobs.view(SETTINGS, "anyone", job)), return_exceptions=True
        )
    finally:
        client.replicaof("NO", "ONE")
        threads.client.close()
        await tasks.aclose()
    assert {str(error) for error in refused} == {"The record store takes no writes now; try again."}
    assert isinstance(view, JobView)
    assert view.id == job


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("MISCONF Errors writing to the AOF file: No space left on device", "takes no writes now"),
        ("NOREPLICAS Not enough good replicas to write.", "takes no writes now"),
        ("BUSY Redis is busy running a script.", "out of reach"),
        ("MASTERDOWN Link with MASTER is down", "out of reach"),
    ],
)
def test_a_store_that_answers_and_takes_no_writes_is_not_looked_for_elsewhere(said: str, told: str) -> None:
    class Refuses:
        """Stands for a server whose disk is full, say, which cannot be had here."""

        def execute_command(self, *_: Any) -> None:
            raise DefaultParser.parse_error(said)  # type: ignore[no-untyped-call]

    store = Store(cast(Redis, Refuses()))
    with pytest.raises(Unavailable, match=told):
        store.run(jobs.view(SETTINGS, "anyone", "job_1"))
