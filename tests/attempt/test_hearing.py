"""A worker that is handed nothing although work waits starts anew; a busy one, or one cut off, stays."""

import pytest

from tests.support.redis_server import RedisServer
from tests.support.workbench import MODEL, Workbench
from worker.exits import Exit
from worker.hearing import Hearing


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr("worker.hearing.os._exit", codes.append)
    monkeypatch.setattr("worker.hearing.PATIENCE_S", 0.0)
    return codes


def hearing(desk: Workbench, slots: int = 1) -> Hearing:
    return Hearing(desk.nudger, desk.leases, lane=MODEL.lane, slots=slots)


def test_a_worker_that_no_nudge_reaches_starts_anew(desk: Workbench, left: list[int]) -> None:
    deaf = hearing(desk)
    desk.nudger.send(MODEL.lane)
    deaf.check()
    assert left == [Exit.DEAF]


def test_it_finishes_what_it_has_first(desk: Workbench, left: list[int]) -> None:
    deaf = hearing(desk, slots=2)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        deaf.check()
        assert left == []
    deaf.check()
    assert left == [Exit.DEAF]


def test_a_worker_whose_server_refuses_to_hand_nudges_out_does_not_load_its_model_anew(
    desk: Workbench, redis: RedisServer, left: list[int]
) -> None:
    cut_off = hearing(desk)
    desk.nudger.send(MODEL.lane)
    with redis.refusing_writes():
        cut_off.check()
    assert left == []
    cut_off.check()
    assert left == [Exit.DEAF]


def test_a_worker_without_a_free_thread_is_not_deaf(desk: Workbench, left: list[int]) -> None:
    busy = hearing(desk)
    desk.nudger.send(MODEL.lane)
    desk.ask("x")
    with desk.leases.hold(desk.claim()):
        busy.check()
    assert left == []


def test_a_worker_whose_rows_one_request_took_is_not_deaf(
    desk: Workbench, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.hearing.PATIENCE_S", 15.0)
    monkeypatch.setattr("worker.hearing.time.monotonic", lambda: now[0])
    busy = hearing(desk, slots=6)
    desk.nudger.send(MODEL.lane)
    desk.ask("x", n=8, temperature=1.0)
    with desk.leases.hold(desk.claim()):
        now[0] = 100.0
        busy.check()
    now[0] = 101.0
    busy.check()
    assert left == [], "its threads waited for room, and had no time yet to take a nudge"


def test_an_idle_worker_is_not_deaf(desk: Workbench, left: list[int]) -> None:
    hearing(desk).check()
    assert left == []


def test_a_worker_whose_broker_is_away_is_not_deaf(desk: Workbench, left: list[int]) -> None:
    idle = hearing(desk)
    desk.nudger.send(MODEL.lane)
    desk.redis.kill()
    try:
        idle.check()
    finally:
        desk.redis.start()
    assert left == []


def test_a_nudge_that_arrives_shows_that_all_is_well(
    desk: Workbench, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.hearing.PATIENCE_S", 60.0)
    well = hearing(desk)
    desk.nudger.send(MODEL.lane)
    well.nudged()
    well.check()
    assert left == []
