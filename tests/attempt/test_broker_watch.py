"""A worker that is handed nothing although work waits starts anew; a busy one, or one cut off, stays."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.support.attempt_harness import MODEL, WorkerHarness
from tests.support.redis_server import RedisServer
from worker.watchdogs import BrokerWatch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 0.0)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    times = [0.0]
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 15.0)
    monkeypatch.setattr("worker.watchdogs.time.monotonic", lambda: times[0])
    return times


def watch(harness: WorkerHarness, slots: int = 1) -> BrokerWatch:
    return BrokerWatch(harness.nudger, harness.leases, lane=MODEL.lane, slots=slots)


def test_a_worker_that_no_nudge_reaches_starts_anew(harness: WorkerHarness) -> None:
    worker = watch(harness)
    harness.nudger.send(MODEL.lane)
    assert worker.is_starved()


def test_it_finishes_what_it_has_first(harness: WorkerHarness) -> None:
    worker = watch(harness, slots=2)
    harness.nudger.send(MODEL.lane)
    harness.ask("x")
    with harness.leases.hold(harness.claim()):
        assert not worker.is_starved()
    assert worker.is_starved()


@pytest.mark.parametrize("refusing", [RedisServer.refusing_writes, RedisServer.full])
def test_a_worker_whose_server_refuses_to_hand_nudges_out_does_not_load_its_model_anew(
    harness: WorkerHarness,
    redis: RedisServer,
    refusing: Callable[[RedisServer], AbstractContextManager[None]],
) -> None:
    cut_off = watch(harness)
    harness.nudger.send(MODEL.lane)
    with refusing(redis):
        assert not cut_off.is_starved()
    assert cut_off.is_starved()


def test_a_worker_whose_rows_one_request_took_is_not_deaf(harness: WorkerHarness, now: list[float]) -> None:
    busy = watch(harness, slots=6)
    harness.nudger.send(MODEL.lane)
    harness.ask("x", n=8, temperature=1.0)
    with harness.leases.hold(harness.claim()):
        now[0] = 100.0
        assert not busy.is_starved()
    now[0] = 101.0
    assert not busy.is_starved(), "its threads waited for room, and had no time yet to take a nudge"


def test_a_worker_whose_broker_is_away_is_not_deaf(harness: WorkerHarness) -> None:
    idle = watch(harness)
    harness.nudger.send(MODEL.lane)
    harness.redis.kill()
    try:
        assert not idle.is_starved()
    finally:
        harness.redis.start()


def test_a_nudge_that_arrives_shows_it_is_well(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 60.0)
    well = watch(harness)
    harness.nudger.send(MODEL.lane)
    well.nudged()
    assert not well.is_starved()


def test_a_worker_that_was_cut_off_itself_is_not_deaf_when_the_store_is_back(
    harness: WorkerHarness, now: list[float]
) -> None:
    cut_off = watch(harness)
    harness.nudger.send(MODEL.lane)
    now[0] = 40.0
    assert not cut_off.is_starved()
    for _ in range(4):
        now[0] += 4
        assert cut_off.is_starved() == (now[0] > 55)
