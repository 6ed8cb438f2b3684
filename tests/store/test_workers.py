"""Workers and maintenance leaders: who lives, what they said, who leads."""

import pytest

from shared.estimate import loading_time
from shared.store import jobs
from shared.store.headroom import writable
from tests.support.clock import Clock
from tests.support.store import LANE, SETTINGS, Records


def state(records: Records) -> str:
    return records.run(jobs.lane(records.settings, LANE)).state


def test_a_worker_unheard_of_counts_as_gone(records: Records) -> None:
    records.beat()
    records.wait(SETTINGS.queue.worker_ttl_s - 1)
    records.beat(worker="worker_02", state="loading")
    assert state(records) == "ready"
    records.wait(2)
    assert state(records) == "loading"


def test_workers_that_died_are_not_known_for_ever_where_others_take_their_place(records: Records) -> None:
    for number in range(3):
        records.beat(worker=f"worker_{number}")
        for _ in range(round(SETTINGS.queue.worker_ttl_s) + 1):
            records.wait(1)
            records.rescue()
    assert records.client.zrange(f"sl9:ready:{LANE}", 0, -1) == ["worker_2"]


def opened(records: Records) -> bool:
    """Whether a caller is let in who waits for the answer."""
    return records.post(records.placing(), must_be_ready=True).word != "unready"


@pytest.mark.parametrize("away_s", [8, 22, 6 * 3600])
def test_whoever_comes_right_behind_an_outage_is_not_told_that_workers_are_away(
    records: Records, away_s: int
) -> None:
    """Nobody could say that it lives while the store was away."""
    records.beat()
    records.beat(worker="worker_02", state="loading")
    clock = Clock(records)
    clock.advance(away_s * 1000)
    assert opened(records)
    records.beat()
    lane = records.run(jobs.lane(SETTINGS, LANE))
    assert (lane.ready, lane.loading) == (1, 1), "one beats before the other"
    clock.advance(2100)
    assert opened(records)
    assert records.run(jobs.lane(SETTINGS, LANE)).loading == (away_s == 8), "who stays away is away"


def test_right_behind_an_outage_a_probe_takes_no_api_away(records: Records) -> None:
    records.beat()
    Clock(records).advance(22_000)
    assert records.run(writable(SETTINGS))
    assert state(records) == "ready"


def test_behind_an_outage_a_worker_that_died_before_it_is_away(records: Records) -> None:
    records.beat()
    records.wait(SETTINGS.queue.worker_ttl_s + 1)
    records.rescue()
    records.wait(22)
    assert not opened(records)


def test_where_nobody_is_left_callers_wait_for_no_worker_but_once(records: Records) -> None:
    records.beat()
    records.wait(60)
    assert opened(records)
    records.wait(3)
    assert not opened(records)
    records.wait(60)
    assert not opened(records)


def test_the_time_that_a_load_still_takes_does_not_depend_on_the_worker_s_clock(records: Records) -> None:
    facts = {"load_passed_ms": "4000", "load_guess_ms": "9000", "load_basis": "rate"}
    records.beat(state="loading", facts=facts)
    assert loading_time(records.run(jobs.lane(SETTINGS, LANE))) == (5, "rate")
    records.wait(2)
    assert loading_time(records.run(jobs.lane(SETTINGS, LANE))) == (3, "rate")


def test_a_worker_s_life_may_be_a_fraction_of_a_second(records: Records) -> None:
    records.set_queue(worker_ttl_s=1.5)
    records.beat()
    records.wait(1.4)
    assert state(records) == "ready"
    records.wait(0.2)
    assert state(records) == "no_worker"


def test_workers_that_died_leave_nothing_for_ever(records: Records) -> None:
    records.beat()
    records.beat(worker="worker_02", state="loading")
    ttl = records.client.ttl
    assert 0 < ttl(f"sl9:ready:{LANE}") <= 86_400
    assert 0 < ttl(f"sl9:loading:{LANE}") <= 86_400
    assert 0 < ttl(f"sl9:prints:{LANE}") <= 86_400
