"""A worker that is handed nothing although work waits starts anew; a busy one, or one cut off, stays."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.support.attempt_harness import MODEL, Workbench
from tests.support.redis_server import RedisServer
from worker.watchdogs import BrokerWatch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 0.0)


def watch(desk: Workbench, slots: int = 1) -> BrokerWatch:
    return BrokerWatch(desk.nudger, desk.leases, lane=MODEL.lane, slots=slots)


def test_a_worker_that_no_nudge_reaches_starts_anew(desk: Workbench) -> None:
    worker = watch(desk)
    desk.nudger.send(MODEL.lane)
    assert worker.is_starved()


def test_it_finishes_what_it_has_first(desk: Workbench) -> None:
    worker = watch(desk, slots=2)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        assert not worker.is_starved()
    assert worker.is_starved()


@pytest.mark.parametrize("refusing", [RedisServer.refusing_writes, RedisServer.full])
def test_a_worker_whose_server_refuses_to_hand_nudges_out_does_not_load_its_model_anew(
    desk: Workbench, redis: RedisServer, refusing: Callable[[RedisServer], AbstractContextManager[None]]
) -> None:
    cut_off = watch(desk)
    desk.nudger.send(MODEL.lane)
    with refusing(redis):
        assert not cut_off.is_starved()
    assert cut_off.is_starved()


def test_a_worker_without_a_free_thread_is_not_deaf(desk: Workbench) -> None:
    busy = watch(desk)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        assert not busy.is_starved()


def test_a_worker_whose_rows_one_request_took_is_not_deaf(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 15.0)
    monkeypatch.setattr("worker.watchdogs.time.monotonic", lambda: now[0])
    busy = watch(desk, slots=6)
    desk.nudger.send(MODEL.lane)
    desk.ask("x", n=8, temperature=1.0)
    with desk.leases.hold(desk.claim()):
        now[0] = 100.0
        assert not busy.is_starved()
    now[0] = 101.0
    assert not busy.is_starved(), "its threads waited for room, and had no time yet to take a nudge"


def test_an_idle_worker_is_not_deaf(desk: Workbench) -> None:
    assert not watch(desk).is_starved()


def test_a_worker_whose_broker_is_away_is_not_deaf(desk: Workbench) -> None:
    idle = watch(desk)
    desk.nudger.send(MODEL.lane)
    desk.redis.kill()
    try:
        assert not idle.is_starved()
    finally:
        desk.redis.start()


def test_a_nudge_that_arrives_shows_that_all_is_well(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 60.0)
    well = watch(desk)
    desk.nudger.send(MODEL.lane)
    well.nudged()
    assert not well.is_starved()


def test_a_worker_that_was_cut_off_itself_is_not_deaf_when_the_store_is_back(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 15.0)
    monkeypatch.setattr("worker.watchdogs.time.monotonic", lambda: now[0])
    cut_off = watch(desk)
    desk.nudger.send(MODEL.lane)
    now[0] = 40.0
    assert not cut_off.is_starved()
    for _ in range(4):
        now[0] += 4
        assert cut_off.is_starved() == (now[0] > 55)
