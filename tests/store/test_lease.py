"""Leases: work of a lost worker goes on elsewhere, and the lost worker, back again, writes nothing."""

from shared.job import Attempt
from tests.support.clients import until
from tests.support.clock import Clock
from tests.support.store import FAILURE, LANE, Records, answer


def test_a_renewed_lease_is_not_rescued(records: Records) -> None:
    _, claim = records.started()
    records.wait(9)
    assert records.renew(claim) == []
    records.wait(9)
    assert records.rescue() == []
    assert records.settle(claim) == "settled"


def test_renewing_names_the_tokens_that_are_lost(records: Records) -> None:
    jobs = [records.submit().id for _ in range(3)]
    kept, cancelled, settled = (records.claim() for _ in jobs)
    records.cancel(jobs[1])
    records.settle(settled)
    assert records.renew(kept, cancelled, settled) == [cancelled.token, settled.token]


def test_a_lost_worker_s_job_waits_again_but_its_status_does_not_go_back(records: Records) -> None:
    job, claim = records.started()
    started = records.now
    assert records.lose_worker() == [(claim.id, LANE)]
    view = records.view(job)
    assert (view.status, view.started_ms, view.waiting_reason, view.ahead) == (
        "running",
        started,
        "no_worker",
        0,
    )
    assert view.attempts == (Attempt(1, "worker_01", started, records.now, "worker_lost"),)
    assert records.story(job) == ["queued", "running", "requeued"]
    assert records.events(job)[-1].data == {"reason": "worker_lost"}


def test_a_rescue_whose_reply_was_lost_rescues_once(records: Records) -> None:
    records.started()
    assert len(records.lose_worker()) == 1
    before = records.dump()
    assert records.rescue() == []
    assert records.dump() == before


def test_rescued_work_returns_to_its_old_place(records: Records) -> None:
    first, second, urgent = records.submit(), records.submit(), records.submit(priority="interactive")
    assert records.claim().id == urgent.run_id
    assert records.claim().id == first.run_id
    later = records.submit(priority="interactive")
    records.lose_worker()
    order = [records.claim().id for _ in range(4)]
    assert order == [v.run_id for v in (urgent, later, first, second)]


def test_only_one_of_two_workers_ends_a_run(records: Records) -> None:
    job = records.submit("q").id
    late = records.claim()
    records.lose_worker()
    second = records.claim()
    assert records.settle(second, answer("the second")) == "settled"
    assert records.settle(late, answer("the first")) == "lost"
    view = records.view(job)
    assert view.result is not None
    assert view.result.text == "the second"
    assert [a.outcome for a in view.attempts] == ["worker_lost", "succeeded"]


def test_a_run_that_ends_worker_after_worker_is_poison(records: Records) -> None:
    job = records.submit().id
    for attempt in (1, 2):
        assert records.claim().attempt == attempt
        assert records.lose_worker()[0][1] == LANE
    claim = records.claim()
    assert records.lose_worker() == [(claim.id, "")]
    view = records.view(job)
    assert (view.status, view.error and view.error.code) == ("failed", "poison")
    assert [a.outcome for a in view.attempts] == ["worker_lost"] * 3
    assert records.try_claim() is None
    assert records.rescue() == []


def test_deaths_and_failures_are_counted_apart(records: Records) -> None:
    job = records.submit().id
    for _ in range(2):
        records.claim()
        records.lose_worker()
        assert records.give_back(records.claim(), FAILURE) == LANE
    assert records.view(job).status == "running"
    assert records.give_back(records.claim(), FAILURE) is None
    view = records.view(job)
    assert view.error == FAILURE
    assert [a.outcome for a in view.attempts][-1] == "failed"


def test_draining_workers_spend_no_budget(records: Records) -> None:
    job = records.submit().id
    for _ in range(10):
        assert records.give_back(records.claim()) == LANE
    records.settle(records.claim())
    assert records.view(job).status == "succeeded"


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


def test_a_claim_whose_reply_never_came_is_nobodys_death(records: Records) -> None:
    job, claim = records.started()
    records.wait(2)
    records.renew()
    assert records.view(job).attempts[-1].outcome is None, "its reply may still be on its way"
    records.wait(2)
    records.renew()
    assert records.view(job).attempts[-1].outcome == "claim_lost"
    assert records.settle(claim) == "lost"
    assert records.field(claim.id, "deaths") is None
    assert records.claim().attempt == 2


def test_one_call_takes_back_no_more_leases_of_many_models_than_of_one(records: Records) -> None:
    """Each may end the jobs of many callers, and meanwhile the store does nothing else."""
    for lane in ("one", "two"):
        for _ in range(20):
            records.submit(lane=lane)
            records.claim(lane=lane)
    assert len(records.lose_worker()) == 14
    assert len(records.rescue()) == 14
