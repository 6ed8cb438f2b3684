"""Leases: work of a lost worker goes on elsewhere, and the lost worker, back again, writes nothing."""

from tests.support.clients import until
from tests.support.clock import Clock
from tests.support.store import LANE, Records


def test_after_an_outage_workers_have_time_to_renew(records: Records) -> None:
    """Nobody could renew while the store hung: every lease has run out, and every worker lives."""
    records.submit()
    records.rescue()
    claim = records.claim()
    records.wait(60)
    assert records.rescue() == []
    records.wait(3)
    assert records.renew(claim) == []
    records.client.pexpire("sl9:spared", 1)
    until(lambda: not records.client.exists("sl9:spared"))
    assert records.rescue() == []


def test_an_outage_of_hours_is_an_outage_too(records: Records) -> None:
    records.submit()
    records.rescue()
    claim = records.claim()
    Clock(records).advance(6 * 3_600_000)
    assert records.rescue() == []
    assert records.renew(claim) == []


def test_after_an_outage_the_work_of_who_died_in_it_is_returned(records: Records) -> None:
    records.submit()
    records.rescue()
    claim = records.claim()
    records.wait(60)
    assert records.rescue() == []
    records.client.hdel("sl9:upkeep", "grace_till")
    assert records.rescue() == [(claim.id, LANE)]


def test_a_courier_that_takes_over_rescues_at_once_while_workers_beat(records: Records) -> None:
    """Nobody looked for some seconds, but workers wrote: that was no outage."""
    records.submit()
    records.rescue()
    records.claim()
    for _ in range(11):
        records.wait(1)
        records.beat(worker="worker_02")
    assert len(records.rescue()) == 1


def test_one_call_takes_back_no_more_leases_of_many_models_than_of_one(records: Records) -> None:
    """Each may end the jobs of many callers, and meanwhile the store does nothing else."""
    for lane in ("one", "two"):
        for _ in range(20):
            records.submit(lane=lane)
            records.claim(lane=lane)
    assert len(records.lose_worker()) == 14
    assert len(records.rescue()) == 14
