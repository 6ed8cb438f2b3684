"""A job's `finish_by`, the longest time in line, and the pause between two attempts."""

from typing import Any, cast

from shared.store.maintenance import AT_ONCE
from shared.store.script import Store
from tests.support.store import FAILURE, LANE, SETTINGS, Records
from worker.maintenance.passes import end_late


def timed(
    records: Records, question: str = "", *, pending: bool = False, finish_by: float | None = None
) -> str:
    """Submit a job that has to end in so many seconds."""
    changes: dict[str, Any] = {"key": None} if pending else {}
    terms: dict[str, Any] = {"pending_terms": "{}"} if pending else {}
    if finish_by is not None:
        terms["finish_by_ms"] = records.now + round(finish_by * 1000)
    placing = records.placing(question, **changes)
    assert records.post(placing, **terms).view is not None
    return placing.job


def ended(records: Records, job: str) -> tuple[str, str | None, str | None]:
    view = records.view(job)
    error = view.error
    return view.status, error.code if error else None, error.param if error else None


def test_job_without_finish_by_fails_after_expire_s_in_line(records: Records) -> None:
    job = timed(records)
    records.wait(SETTINGS.queue.expire_s - 1)
    assert records.expire() == []
    claim = records.claim()
    records.wait(5)
    records.give_back(claim)
    records.wait(SETTINGS.queue.expire_s - 1)
    assert records.expire() == [], "the wait counts from the last time it was queued"
    assert records.client.zscore("sl9:deadlines", job) == records.now + 1000, "nobody looks at it before"
    records.wait(1)
    assert records.expire() == [job]
    error = records.view(job).error
    assert error is not None
    assert (error.code, error.param) == ("deadline_exceeded", None)
    assert "86,400 s, the limit of SIGHTLINE_QUEUE__EXPIRE_S" in error.message


def test_finish_by_may_be_later_than_expire_s(records: Records) -> None:
    job = timed(records, finish_by=SETTINGS.queue.expire_s + 100)
    records.wait(SETTINGS.queue.expire_s + 50)
    assert records.expire() == []
    records.wait(50)
    assert records.expire() == [job]


def test_a_late_job_is_ended_however_many_before_it_only_wait_on(records: Records) -> None:
    for _ in range(3 * AT_ONCE):
        records.submit()
    records.wait(SETTINGS.queue.expire_s - 1)
    for claim in [records.claim() for _ in range(3 * AT_ONCE)]:
        records.give_back(claim)
    late = timed(records, finish_by=2)
    records.wait(2)
    end_late(records.settings, cast(Store, records))
    assert ended(records, late) == ("failed", "deadline_exceeded", "finish_by")


def test_no_pause_between_two_attempts_is_longer_than_a_minute(records: Records) -> None:
    records.set_queue(backoff_s=40)
    records.submit()
    for pause in (40, 60):
        records.give_back(records.claim(), FAILURE)
        records.wait(pause - 0.1)
        assert records.due() == []
        records.wait(0.1)
        assert records.due() == [LANE]


def test_the_attempts_to_fetch_a_job_s_pictures_are_on_its_record(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    assert [(a.number, a.outcome) for a in records.view(job).attempts] == [(1, "failed")]
    assert records.view(job).started_ms is None


def test_who_joins_what_has_waited_long_may_wait_as_long_as_anybody(records: Records) -> None:
    first = timed(records, "q")
    records.wait(SETTINGS.queue.expire_s - 1)
    fetched = records.submit_pending().id
    joined = timed(records, "q")
    assert records.admit(records.claim_pending(), "q") == "placed"
    records.wait(1)
    assert records.expire() == [first]
    records.wait(SETTINGS.queue.expire_s - 2)
    assert records.expire() == []
    records.wait(1)
    assert sorted(records.expire()) == sorted([joined, fetched])


def test_an_answer_that_is_known_already_is_not_given_too_late_either(records: Records) -> None:
    records.beat()
    records.submit("q", key="everybody:q")
    records.settle(records.claim())
    job = timed(records, pending=True, finish_by=5)
    claim = records.claim_pending()
    records.upload(records.placing(job=job, blobs=("d" * 64,)))
    records.wait(5)
    placing = records.placing("q", job=job, key="everybody:q", blobs=("d" * 64,))
    assert [records.admit_placing(claim, placing) for _ in range(2)] == ["placed"] * 2
    assert ended(records, job) == ("failed", "deadline_exceeded", "finish_by")
    assert not records.client.exists(f"sl9:blob:{'d' * 64}"), "its pictures are held for nobody"


def test_first_finish_by_of_a_shared_run_is_kept(records: Records) -> None:
    jobs = [timed(records, "q", finish_by=seconds) for seconds in (9, 1, 9)]
    claim = records.claim()
    records.wait(1)
    assert records.settle(claim) == "settled"
    assert ended(records, jobs.pop(1)) == ("failed", "deadline_exceeded", "finish_by")
    assert [records.view(job).status for job in jobs] == ["succeeded"] * 2
