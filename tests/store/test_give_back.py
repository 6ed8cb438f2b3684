"""Give back: a stopping worker loses nothing, a failing attempt is tried again while its budget lasts."""

from shared.job import Attempt, AttemptError
from shared.result import JobError
from tests.support.store import FAILURE, LANE, Records


def test_given_back_work_waits_at_its_old_place_and_names_the_lane_to_nudge(records: Records) -> None:
    first, second = records.submit(), records.submit()
    claim = records.claim()
    started = records.now
    records.wait(1)
    assert records.give_back(claim) == LANE
    view = records.view(first.id)
    assert view.status == "running"
    assert view.attempts == (Attempt(1, "worker_01", started, records.now, "worker_draining"),)
    assert records.events(first.id)[-1].data == {"reason": "worker_draining"}
    assert [records.claim().id for _ in range(2)] == [first.run_id, second.run_id]


def test_the_last_failure_of_the_budget_ends_the_job_with_its_error(records: Records) -> None:
    job = records.submit().id
    for attempt in (1, 2):
        claim = records.claim()
        assert claim.attempt == attempt
        assert records.give_back(claim, FAILURE, reason="attempt_failed") == LANE
    assert records.give_back(records.claim(), FAILURE, reason="attempt_failed") is None
    view = records.view(job)
    assert (view.status, view.error, len(view.attempts)) == ("failed", FAILURE, 3)
    assert records.story(job)[-3:] == ["requeued", "running", "failed"]
    assert records.events(job)[-1].data == FAILURE.model_dump()
    assert records.try_claim() is None


def test_each_failed_attempt_keeps_its_cause_cut_and_the_job_its_own_error(records: Records) -> None:
    job = records.submit().id
    records.give_back(records.claim())
    records.give_back(records.claim(), FAILURE, cause=JobError(code="internal_error", message="é" * 201))
    records.give_back(records.claim(), FAILURE)
    records.give_back(records.claim(), FAILURE)
    view = records.view(job)
    assert view.error == FAILURE
    assert [attempt.error for attempt in view.attempts] == [
        None,
        AttemptError("internal_error", "é" * 200),
        *[AttemptError(FAILURE.code, FAILURE.message)] * 2,
    ]


def test_pictures_that_could_not_be_fetched_for_our_own_fault_are_fetched_again(records: Records) -> None:
    job = records.submit_pending().id
    for _ in range(2):
        assert records.give_back(records.claim_pending(), FAILURE) == "intake"
    assert records.view(job).status == "queued"
    assert records.give_back(records.claim_pending(), FAILURE) is None
    assert (records.view(job).status, records.view(job).error) == ("failed", FAILURE)
