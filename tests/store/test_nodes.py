"""Nodes: which models are loaded when they are asked for, what is told of that, and who loads."""

from dataclasses import replace

import pytest

from shared.estimate import estimate, loading_time
from shared.job import Estimate
from shared.store import jobs
from shared.store.workers import forget, node_beat
from tests.support.store import LANE, SETTINGS, Records

TTL_S = SETTINGS.queue.worker_ttl_s


def state(records: Records) -> str:
    return records.run(jobs.lane(records.settings, LANE)).state


def silence(records: Records) -> None:
    """All are unheard of for longer than they may be, but the maintenance goes on."""
    for _ in range(round(TTL_S) + 1):
        records.wait(1)
        records.rescue()


def refuse(records: Records) -> None:
    assert records.post(records.placing(), must_be_ready=True).word == "unready"


def test_a_model_that_a_node_would_load_is_cold_and_its_jobs_wait_for_a_load(records: Records) -> None:
    job = records.submit().id
    records.node_beat()
    assert (state(records), records.view(job).waiting_reason) == ("cold", "model_loading")
    records.beat(state="loading")
    assert state(records) == "loading"
    records.beat(state="gone", facts={"failed": "no memory"})
    assert state(records) == "failed", "a node's promise is no use to callers"


def test_without_its_node_nobody_loads_a_model(records: Records) -> None:
    records.node_beat()
    records.node_beat("node_02")
    records.node_beat(gone=True)
    assert state(records) == "cold"
    records.node_beat("node_02", gone=True)
    assert state(records) == "no_worker", "not after a while but at once"
    records.node_beat()
    records.wait(TTL_S + 1)
    assert state(records) == "no_worker"


def test_who_asks_a_cold_model_is_told_of_the_wait_for_the_device_and_of_the_load(records: Records) -> None:
    records.beat(state="gone", facts={"load_ms": "4000"})
    records.node_beat(load_in_ms="6000")
    lane = records.run(jobs.lane(SETTINGS, LANE))
    assert loading_time(lane) == (10, "measured")
    told = Estimate(10.003, 20.006, 1, "measured")
    assert estimate(lane) == records.submit().estimate == told, "one who comes first"
    records.node_beat()
    assert loading_time(records.run(jobs.lane(SETTINGS, LANE))) == (4, "measured")


def test_a_promise_counts_the_loads_of_those_who_asked_before(records: Records) -> None:
    """Also before the nodes have seen them; each of two nodes loads half of them."""
    lanes = [f"model.m{number}" for number in range(3)]

    def tell(node: str, at_ms: int) -> None:
        facts = {lane: {"load_in_ms": "1000", "load_turn_ms": "6000", "load_ms": "4000"} for lane in lanes}
        records.run(node_beat(SETTINGS, node=node, lanes=facts, at_ms=at_ms))

    def ask(lane: str) -> tuple[float, float]:
        placing = replace(records.placing(lane), lane=lane)
        told = records.accept(placing).estimate
        assert told is not None
        return loading_time(records.run(jobs.lane(SETTINGS, lane)))[0], round(told.p50)

    tell("node_01", records.now)
    assert [ask(lane) for lane in lanes] == [(5, 5), (11, 11), (17, 17)]
    assert ask(lanes[0]) == (5, 5), "it is the first already"
    records.wait(1)
    tell("node_02", records.now - 2000)
    assert ask(lanes[2]) == (11, 11), "a node that has not seen them"
    tell("node_01", records.now)
    assert ask(lanes[2]) == (5, 5), "a node that has"


def test_refused_calls_are_counted_as_loads_ahead_of_others(records: Records) -> None:
    records.node_beat(load_turn_ms="6000")
    refuse(records)
    records.run(node_beat(SETTINGS, node="node_01", lanes={"model.other": {}}))
    assert loading_time(records.run(jobs.lane(SETTINGS, "model.other"))) == (7, "guess")


def test_of_two_nodes_the_one_that_loads_first_tells_the_wait(records: Records) -> None:
    def told(**beats: str) -> float | None:
        for node, load_in_ms in beats.items():
            records.node_beat(node, load_in_ms=load_in_ms)
        return records.fleet().lane.load_in_ms

    assert told(a="9000", b="3000") == 3000
    assert told(a="9000") == 3000
    assert told(b="20000", a="9000") == 9000
    records.node_beat("a", gone=True)
    assert told(b="20000") == 20_000
    silence(records)
    assert told(a="30000") == 30_000, "who is unheard of loads nothing"


def test_why_and_when_a_model_was_unloaded_is_told_until_it_is_loaded_again(records: Records) -> None:
    records.beat()
    records.node_beat(unloaded="idle")
    assert records.fleet().lane.unloaded is None, "it is ready elsewhere"
    records.beat(state="gone")
    unloaded_ms = records.now
    records.node_beat(unloaded="room for org/b")
    records.wait(1)
    for node in ("node_01", "node_02"):
        records.node_beat(node)
    lane = records.fleet().lane
    assert (lane.unloaded, lane.unloaded_ms) == ("room for org/b", unloaded_ms)
    records.beat()
    lane = records.fleet().lane
    assert (lane.unloaded, lane.unloaded_ms, lane.resident_ms) == (None, None, records.now)


def test_a_refused_call_is_demand_for_a_minute_or_until_the_model_is_loaded(records: Records) -> None:
    assert (records.fleet().wanted_ms, records.fleet().backlog) == (None, 0)
    refuse(records)
    wanted_ms = records.now
    records.wait(0.5)
    refuse(records)
    assert (records.fleet().wanted_ms, records.fleet().backlog) == (wanted_ms, 1), "not written for each"
    records.wait(59)
    refuse(records)
    records.wait(59)
    assert records.fleet().backlog == 1
    records.pause()
    assert records.fleet().backlog == 0
    records.wait(1)
    assert records.fleet().wanted_ms is None
    records.pause(paused=False)
    refuse(records)
    records.beat()
    assert (records.fleet().wanted_ms, records.fleet().backlog) == (None, 0)


def test_a_late_repeat_takes_no_worker_away_that_is_ready(records: Records) -> None:
    records.place("worker_a")
    records.beat(worker="worker_a")
    assert records.place("worker_a") == "OK"
    assert state(records) == "ready"


def test_a_load_is_not_measured_from_the_one_before(records: Records) -> None:
    records.beat(state="loading", facts={"load_passed_ms": "0", "load_ms": "4000"})
    records.beat(state="gone")
    records.wait(3600)
    records.place("worker_a")
    records.wait(1)
    assert loading_time(records.run(jobs.lane(SETTINGS, LANE))) == (3, "measured")


@pytest.mark.parametrize("presence", [True, False])
def test_a_service_that_starts_anew_forgets_its_former_node(records: Records, presence: bool) -> None:
    records.node_beat()
    forget(records.store, LANE, presence=presence)
    assert state(records) == ("no_worker" if presence else "cold")


def test_a_node_says_all_of_fifty_lanes_at_once(records: Records) -> None:
    lanes = {f"model.m{number}": {"load_in_ms": str(number)} for number in range(50)}
    records.run(node_beat(SETTINGS, node="node_01", lanes=lanes))
    told = [records.run(jobs.lane(SETTINGS, lane)) for lane in lanes]
    assert [(lane.state, lane.load_in_ms) for lane in told] == [("cold", number) for number in range(50)]
