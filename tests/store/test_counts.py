"""What all processes count is one sum: it never falls, and no part of it is counted twice."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from shared.metrics.gauges import Server, families
from shared.metrics.reporter import CountReporter
from shared.settings import Settings
from shared.store.headroom import memory
from shared.store.keys import INTAKE
from shared.store.metrics import count, counts
from shared.store.script import Store
from shared.store.workers import fleet

REQUESTS, RUNS = '["requests","total"]', '["runs","total"]'


def read(store: Store) -> Mapping[str, float]:
    return store.run(counts())


def test_what_several_processes_count_is_added_up_and_stays_when_they_leave(real_store: Store) -> None:
    real_store.run(count("one", 1, [(REQUESTS, 2), (RUNS, 0.25)]))
    real_store.run(count("two", 1, [(REQUESTS, 3)]))
    real_store.run(count("one", 2, [(RUNS, 0.5)]))

    assert read(real_store) == {REQUESTS: 5, RUNS: 0.75}


@pytest.mark.parametrize(("policy", "told"), [("noeviction", 0), ("allkeys-lru", 1)])
def test_monitoring_sees_a_store_that_may_evict_accepted_jobs(
    real_store: Store, policy: str, told: int
) -> None:
    real_store.client.config_set("maxmemory-policy", policy)
    try:
        held = real_store.run(memory())
    finally:
        real_store.client.config_set("maxmemory-policy", "noeviction")
    server = Server(held.used, held.promised, held.limit, held.evicts, round_trip_s=0)
    (intake,) = real_store.run(fleet(Settings(), [INTAKE]))
    page = families([], [], intake, server)
    (found,) = (one for one in page if one.name == "sightline_store_evicts")
    assert [sample.value for sample in found.samples] == [told]


def test_news_whose_reply_was_lost_are_counted_once(real_store: Store) -> None:
    first, second = count("one", 1, [(REQUESTS, 2)]), count("one", 2, [(REQUESTS, 1)])

    assert [real_store.run(call) for call in (first, first, second, first, second)] == [
        "added",
        "known",
        "added",
        "known",
        "known",
    ]
    assert read(real_store) == {REQUESTS: 3}


def test_the_record_does_not_grow_without_end_and_what_is_in_it_goes_on(real_store: Store) -> None:
    def told(number: int, *news: tuple[str, float]) -> str:
        call = count("one", number, news)
        return real_store.run(replace(call, arguments={**call.arguments, "most": 2}))

    assert told(1, (REQUESTS, 1)) == "added"
    # What was there before takes nothing of the room.
    assert told(2, (REQUESTS, 1), (RUNS, 1)) == "added"
    assert told(3, ("third", 1), (REQUESTS, 1)) == "full"

    assert read(real_store) == {REQUESTS: 3, RUNS: 1}


def test_a_process_whose_counts_find_no_room_says_so_once(
    real_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shared.metrics.reporter.CounterDeltas.fresh", lambda _: [(REQUESTS, 1)])
    monkeypatch.setattr("shared.store.metrics.MOST", 0)
    reporter = CountReporter(real_store)
    reporter.report()
    reporter.report()
    assert caplog.text.count("keeps at most") == 1
    assert read(real_store) == {}


def test_how_full_the_server_is_is_read(real_store: Store) -> None:
    real_store.client.config_set("maxmemory", 10**9)
    try:
        seen = real_store.run(memory())
    finally:
        real_store.client.config_set("maxmemory", 0)
    assert 0 < seen.used < seen.limit == 10**9
    assert real_store.run(memory()).limit == 0
