"""A caller who hangs up and asks the same again gets its place back, and nobody else does."""

from typing import Any

from shared.job import JobView
from shared.result import JobError
from shared.store import jobs
from tests.support.existing import existing
from tests.support.store import SETTINGS, Records

CALL = "c" * 64


def ask(records: Records, call_id: str = CALL, **changes: Any) -> JobView:
    return records.accept(records.placing(**changes), call_id=call_id)


def abandon(records: Records, job: JobView) -> int | None:
    return records.run(jobs.abandon(job.caller, job.id, 60))


def cancel(records: Records, job: JobView, abandoned: int | None) -> JobView | None:
    return records.run(jobs.cancel(SETTINGS, job.caller, job.id, abandoned=abandoned))


def test_the_same_call_gets_the_place_that_its_caller_left_first(records: Records) -> None:
    first, second, live = (ask(records) for _ in range(3))
    for job in (first, second):
        records.wait(1)
        abandon(records, job)
    assert ask(records, "d" * 64).id not in (first.id, second.id)
    assert ask(records, caller="someone").id not in (first.id, second.id)
    assert [ask(records).id for _ in range(2)] == [first.id, second.id]
    assert ask(records).id != live.id, "a call that still waits lost its answer to another"


def test_who_came_back_is_not_cancelled_for_having_left_before(records: Records) -> None:
    job = ask(records)
    left = abandon(records, job)
    ask(records)
    assert cancel(records, job, left) is None
    records.wait(1)
    left_again = abandon(records, job)
    assert cancel(records, job, left) is None
    assert records.run(jobs.purge(SETTINGS, job.caller, job.id, abandoned=left)) is None
    assert records.view(job.id).status == "queued"
    ended = existing(cancel(records, job, left_again))
    assert ended.status == "cancelled"
    assert ask(records).id != job.id


def test_an_answer_that_came_meanwhile_is_found_and_a_failure_is_not(records: Records) -> None:
    job = ask(records)
    abandon(records, job)
    records.settle(records.claim())
    found = ask(records)
    assert (found.id, found.status) == (job.id, "succeeded")
    assert found.result is not None
    failed = ask(records)
    abandon(records, failed)
    records.settle(records.claim(), JobError(code="invalid_image", message="It is broken."))
    assert ask(records).id != failed.id


def test_a_job_that_no_call_waits_for_is_not_abandoned(records: Records) -> None:
    assert abandon(records, records.submit()) is None
