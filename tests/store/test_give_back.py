"""Give back: a stopping worker loses nothing, a failing attempt is tried again while its budget lasts."""

from shared.job import AttemptError
from shared.result import JobError
from tests.support.store import FAILURE, Records


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
