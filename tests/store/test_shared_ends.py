"""A run that hundreds of jobs share ends at once for whoever reads it, and in pieces for the store."""

import pytest

from shared.job import JobView
from shared.settings import RetentionSettings
from shared.store import maintenance
from shared.store.claims import Claim
from tests.support.hooks import ALL, submit
from tests.support.store import BROKEN, SETTINGS, Records, answer

JOINED = 100


@pytest.fixture
def shared(records: Records) -> list[str]:
    """A settled run whose ends one call could not all write."""
    jobs = [records.submit("q").id for _ in range(JOINED)]
    claim = records.claim()
    finish(records)
    records.settle(claim)
    assert records.client.llen("sl9:ending") == 1
    return jobs


def finish(records: Records) -> int:
    """Writes all ends; how many calls it took."""
    calls = 1
    while records.run(maintenance.finish(records.settings)):
        calls += 1
    return calls


def test_who_may_read_an_answer_is_known_for_as_long_as_ends_are_to_be_written(
    records: Records, shared: list[str]
) -> None:
    """However long no courier comes: a deletion must not take the answer from the others."""
    run = f"sl9:{records.view(shared[0]).run_id}"
    assert records.client.ttl(f"{run}:followers") == -1
    finish(records)
    assert records.client.ttl(f"{run}:followers") == records.client.ttl(run) > 0


def test_all_jobs_have_ended_as_soon_as_their_run_has(records: Records, shared: list[str]) -> None:
    before = [records.view(job) for job in shared]
    assert {view.status for view in before} == {"succeeded"}
    assert {records.story(job)[-1] for job in shared} == {"succeeded"}
    assert {view.result for view in before} == {answer()}
    listed = records.listed(limit=200, statuses=["succeeded"])
    assert len(listed.views) == JOINED
    assert not records.listed(limit=200, statuses=["running"]).views
    finish(records)
    assert [records.view(job) for job in shared] == before
    assert records.client.llen("sl9:ending") == 0


def late_jobs(records: Records) -> list[JobView]:
    soon = records.now + 1000
    views = [records.post(records.placing("q"), finish_by_ms=soon).view for _ in range(JOINED)]
    return [view for view in views if view]


def test_many_jobs_too_late_at_the_claim_end_in_pieces(records: Records) -> None:
    late, patient = late_jobs(records), records.submit("q")
    records.wait(1)
    *pieces, claim = [records.claim_within(8) for _ in range(4)]
    assert pieces == ["again"] * 3
    assert isinstance(claim, Claim)
    assert {records.view(job.id).status for job in late} == {"failed"}
    assert records.view(patient.id).status == "running"


def test_many_jobs_that_are_answered_too_late_end_in_pieces(records: Records) -> None:
    late, patient = late_jobs(records), records.submit("q")
    claim = records.claim()
    records.wait(1)
    assert [records.settle(claim) for _ in range(4)] == ["again"] * 3 + ["settled"]
    assert {records.view(job.id).status for job in late} == {"failed"}
    assert records.view(patient.id).status == "succeeded"


def test_an_end_that_is_to_be_written_is_not_changed_by_a_cancel(records: Records, shared: list[str]) -> None:
    for job in shared:
        records.cancel(job)
    assert {records.view(job).status for job in shared} == {"succeeded"}
    finish(records)
    assert {records.view(job).status for job in shared} == {"succeeded"}


def test_each_end_is_told_once_whoever_goes_on(records: Records) -> None:
    jobs = [submit(records, "q", ALL).id for _ in range(JOINED)]
    records.settle(records.claim(), BROKEN)
    assert finish(records) > 5, "in pieces"
    assert records.client.zcard("sl9:calls:example.com") == JOINED * 2, "their beginning, too"
    assert {records.view(job).error for job in jobs} == {BROKEN}


def test_what_waited_too_long_to_be_written_is_told_as_lost(records: Records, shared: list[str]) -> None:
    records.client.delete(f"sl9:{records.view(shared[0]).run_id}")
    finish(records)
    lost = [view for view in map(records.view, shared[1:]) if view.status == "failed"]
    assert lost
    assert {view.error and view.error.code for view in lost} == {"internal_error"}


def test_an_end_that_was_seen_stays_however_late_others_come(records: Records, shared: list[str]) -> None:
    run = f"sl9:{records.view(shared[0]).run_id}"
    assert records.client.ttl(run) == -1
    finish(records)
    assert 0 < records.client.ttl(run) <= records.settings.retention.job_s


def test_an_answer_goes_before_its_jobs_also_where_their_ends_come_in_pieces(records: Records) -> None:
    records.settings = SETTINGS.model_copy(update={"retention": RetentionSettings(result_s=100)})
    leader, *_ = [records.submit("q").id for _ in range(JOINED)]
    records.settle(records.claim())
    finish(records)
    assert 0 < records.client.ttl(f"sl9:{leader}:answer") <= 100 < records.client.ttl(f"sl9:{leader}")


def test_a_hit_before_all_ends_are_written_lets_the_answer_live(records: Records, shared: list[str]) -> None:
    run = f"sl9:{records.view(shared[0]).run_id}"
    records.beat()
    assert records.post(records.placing("q")).view is not None
    assert records.client.ttl(run) == -1, "other ends are read from it, however late"
    finish(records)
    assert records.client.ttl(run) > records.settings.retention.job_s - 60
