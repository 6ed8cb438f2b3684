"""A worker that is handed nothing although work waits starts anew; a busy one, or one cut off, stays."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.support.attempt_harness import MODEL, Workbench
from tests.support.redis_server import RedisServer
from worker.watchdogs import BrokerWatch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.watchdogs.PATIENCE_S", 0.0)


def hearing(desk: Workbench, slots: int = 1) -> BrokerWatch:
    return BrokerWatch(desk.nudger, desk.leases, lane=MODEL.lane, slots=slots)


def test_a_worker_that_no_nudge_reaches_starts_anew(desk: Workbench) -> None:
    deaf = hearing(desk)
    desk.nudger.send(MODEL.lane)
    assert deaf.deaf()


def test_it_finishes_what_it_has_first(desk: Workbench) -> None:
    deaf = hearing(desk, slots=2)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        assert not deaf.deaf()
    assert deaf.deaf()


@pytest.mark.parametrize("refusing", [RedisServer.refusing_writes, RedisServer.full])
def test_a_worker_whose_server_refuses_to_hand_nudges_out_does_not_load_its_model_anew(
    desk: Workbench, redis: RedisServer, refusing: Callable[[RedisServer], AbstractContextManager[None]]
) -> None:
    cut_off = hearing(desk)
    desk.nudger.send(MODEL.lane)
    with refusing(redis):
        assert not cut_off.deaf()
    assert cut_off.deaf()


def test_a_worker_without_a_free_thread_is_not_deaf(desk: Workbench) -> None:
    busy = hearing(desk)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        assert not busy.deaf()


def test_a_worker_whose_rows_one_request_took_is_not_deaf(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.watchdogs.PATIENCE_S", 15.0)
    monkeypatch.setattr("worker.watchdogs.time.monotonic", lambda: now[0])
    busy = hearing(desk, slots=6)
    desk.nudger.send(MODEL.lane)
    desk.ask("x", n=8, temperature=1.0)
    with desk.leases.hold(desk.claim()):
        now[0] = 100.0
        assert not busy.deaf()
    now[0] = 101.0
    assert not busy.deaf(), "its threads waited for room, and had no time yet to take a nudge"


def test_an_idle_worker_is_not_deaf(desk: Workbench) -> None:
    assert not hearing(desk).deaf()


def test_a_worker_whose_broker_is_away_is_not_deaf(desk: Workbench) -> None:
    idle = hearing(desk)
    desk.nudger.send(MODEL.lane)
    desk.redis.kill()
    try:
        assert not idle.deaf()
    finally:
        desk.redis.start()


def test_a_nudge_that_arrives_shows_that_all_is_well(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.watchdogs.PATIENCE_S", 60.0)
    well = hearing(desk)
    desk.nudger.send(MODEL.lane)
    well.nudged()
    assert not well.deaf()
