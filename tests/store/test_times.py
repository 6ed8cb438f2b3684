"""A job's times: begun not before, begun by, ended by; and the pause between two attempts."""

from typing import Any, cast

import pytest

from shared.job import Times
from shared.store.keys import INTAKE
from shared.store.maintenance import AT_ONCE
from shared.store.script import Store
from tests.support.store import FAILURE, LANE, SETTINGS, Records
from worker.maintenance.passes import end_late


def timed(records: Records, question: str = "", *, pending: bool = False, **times: float) -> str:
    """A job with times given in seconds from now."""
    at = Times(**{name: records.now + round(s * 1000) for name, s in times.items()})
    changes: dict[str, Any] = {"key": None} if pending else {}
    terms = {"pending_terms": "{}"} if pending else {}
    placing = records.placing(question, **changes)
    assert records.post(placing, times=at, **terms).view is not None
    return placing.job


def ended(records: Records, job: str) -> tuple[str, str | None, str | None]:
    view = records.view(job)
    error = view.error
    return view.status, error.code if error else None, error.param if error else None


def test_a_job_that_has_not_begun_in_time_ends_and_says_which_time(records: Records) -> None:
    job = timed(records, start_by=5)
    records.wait(4)
    assert records.expire() == []
    records.wait(1)
    assert records.expire() == [job]
    assert ended(records, job) == ("failed", "deadline_exceeded", "start_by")
    assert records.story(job)[-1] == "failed"
    assert records.try_claim() is None


def test_a_job_that_has_begun_in_time_is_not_ended_by_that_time(records: Records) -> None:
    job = timed(records, start_by=5)
    claim = records.claim()
    records.wait(6)
    assert records.expire() == []
    assert records.settle(claim) == "settled"
    assert records.view(job).status == "succeeded"


def test_work_that_began_in_time_is_tried_again_after_its_worker_s_death(records: Records) -> None:
    job = timed(records, start_by=1)
    first = records.claim()
    records.wait(60)
    records.rescue()
    assert records.claim().id == first.id
    assert records.view(job).status == "running"


def test_only_the_job_whose_time_is_up_leaves_a_shared_run(records: Records) -> None:
    hurried, patient = timed(records, "q", finish_by=5), timed(records, "q")
    claim = records.claim()
    records.wait(5)
    assert records.expire() == [hurried]
    assert records.settle(claim) == "settled"
    assert records.view(patient).status == "succeeded"
    assert records.view(hurried).status == "failed"


def test_nothing_waits_in_line_for_ever(records: Records) -> None:
    job = timed(records)
    records.wait(SETTINGS.queue.start_by_s - 1)
    assert records.expire() == []
    claim = records.claim()
    records.wait(5)
    records.give_back(claim)
    records.wait(SETTINGS.queue.start_by_s - 1)
    assert records.expire() == [], "the wait counts from the last time it was queued"
    assert records.client.zscore("sl8:deadlines", job) == records.now + 1000, "nobody looks at it before"
    records.wait(1)
    assert records.expire() == [job]
    assert ended(records, job)[:2] == ("failed", "deadline_exceeded")


@pytest.mark.parametrize("pending", [False, True])
def test_an_ended_job_is_not_watched_any_more(records: Records, pending: bool) -> None:
    job = timed(records, pending=pending, start_by=5)
    records.cancel(job)
    assert records.client.zcard("sl8:deadlines") == 0


def test_a_scheduled_job_is_not_looked_at_before_it_may_be_late(records: Records) -> None:
    """Thousands of them would come before others' jobs that are late."""
    job = timed(records, pending=True, schedule_at=10 * SETTINGS.queue.start_by_s)
    looked_at = records.client.zscore("sl8:deadlines", job)
    assert looked_at == records.now + 11 * SETTINGS.queue.start_by_s * 1000


def test_a_scheduled_job_waits_for_its_time_and_then_for_its_turn(records: Records) -> None:
    job = timed(records, pending=True, schedule_at=60)
    view = records.view(job)
    assert (view.status, view.waiting_reason) == ("queued", "scheduled")
    assert records.try_claim(lane=INTAKE, fingerprint="") is None
    assert records.due() == []
    records.wait(60)
    assert records.due() == [INTAKE]
    assert records.view(job).waiting_reason == "fetching_inputs"
    assert records.admit(records.claim_pending()) == "queued"
    records.settle(records.claim())
    assert records.view(job).status == "succeeded"


def test_a_late_job_is_ended_however_many_before_it_only_wait_on(records: Records) -> None:
    for _ in range(3 * AT_ONCE):
        records.submit()
    records.wait(SETTINGS.queue.start_by_s - 1)
    for claim in [records.claim() for _ in range(3 * AT_ONCE)]:
        records.give_back(claim)
    late = timed(records, finish_by=2)
    records.wait(2)
    end_late(records.settings, cast(Store, records))
    assert ended(records, late) == ("failed", "deadline_exceeded", "finish_by")


def test_a_time_that_has_passed_means_now(records: Records) -> None:
    timed(records, pending=True, schedule_at=-5)
    records.claim_pending()


@pytest.fixture
def patient(records: Records) -> Records:
    records.set_queue(backoff_s=2)
    return records


def test_a_failing_attempt_is_not_repeated_at_once(patient: Records) -> None:
    job = patient.submit().id
    for pause in (2, 4):
        assert patient.give_back(patient.claim(), FAILURE) is None
        assert patient.view(job).waiting_reason == "retrying"
        assert patient.view(job).status == "running"
        patient.wait(pause - 0.1)
        assert patient.due() == []
        patient.wait(0.1)
        assert patient.due() == [LANE]
    patient.give_back(patient.claim(), FAILURE)
    assert patient.view(job).error == FAILURE


def test_no_pause_between_two_attempts_is_longer_than_a_minute(records: Records) -> None:
    records.set_queue(backoff_s=40)
    records.submit()
    for pause in (40, 60):
        records.give_back(records.claim(), FAILURE)
        records.wait(pause - 0.1)
        assert records.due() == []
        records.wait(0.1)
        assert records.due() == [LANE]


def test_scheduled_jobs_count_as_waiting(records: Records) -> None:
    records.set_queue(max_queued_caller=2, max_queued=3)
    at = Times(schedule_at=records.now + 60_000)

    def word(caller: str) -> str:
        placing = records.placing(caller=caller, key=None)
        return records.post(placing, times=at, pending_terms="{}").word

    assert [word("one") for _ in range(3)] == ["known", "known", "crowded"]
    assert [word("two") for _ in range(2)] == ["known", "full"]
    records.wait(60)
    records.due()
    assert not records.client.exists(f"sl8:later:{LANE}")


def test_the_attempts_to_fetch_a_job_s_pictures_are_on_its_record(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    assert [(a.number, a.outcome) for a in records.view(job).attempts] == [(1, "failed")]
    assert records.view(job).started_ms is None


def test_who_joins_what_has_waited_long_may_wait_as_long_as_anybody(records: Records) -> None:
    first = timed(records, "q")
    records.wait(SETTINGS.queue.start_by_s - 1)
    fetched = records.submit_pending().id
    joined = timed(records, "q")
    assert records.admit(records.claim_pending(), "q") == "placed"
    records.wait(1)
    assert records.expire() == [first]
    records.wait(SETTINGS.queue.start_by_s - 2)
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
    assert not records.client.exists(f"sl8:blob:{'d' * 64}"), "its pictures are held for nobody"


@pytest.mark.parametrize("name", ["start_by", "finish_by"])
@pytest.mark.parametrize("patient_s", [(None, 9), (9, None), (9, 9)])
def test_the_first_of_several_times_of_a_shared_run_is_kept(
    records: Records, name: str, patient_s: tuple[float | None, float | None]
) -> None:
    first, last = ({} if s is None else {name: s} for s in patient_s)
    jobs = [timed(records, "q", **times) for times in (first, {name: 1}, last)]
    claim = None if name == "start_by" else records.claim()
    records.wait(1)
    claim = claim or records.claim()
    assert records.settle(claim) == "settled"
    assert ended(records, jobs.pop(1)) == ("failed", "deadline_exceeded", name)
    assert [records.view(job).status for job in jobs] == ["succeeded"] * 2


def test_a_job_whose_pictures_are_still_fetched_has_not_begun_in_time(records: Records) -> None:
    job = timed(records, pending=True, start_by=5)
    records.claim_pending()
    records.wait(5)
    assert records.expire() == [job]
    assert ended(records, job) == ("failed", "deadline_exceeded", "start_by")


def test_a_cancel_between_two_fetches_makes_no_room_that_scheduled_jobs_take(patient: Records) -> None:
    timed(patient, pending=True, schedule_at=60)
    tried = patient.submit_pending().id
    patient.give_back(patient.claim_pending(), FAILURE)
    patient.cancel(tried)
    patient.set_queue(max_queued_caller=1)
    assert patient.post(patient.placing()).word == "crowded"


def test_work_that_is_tried_again_after_a_pause_is_paid_for_once(patient: Records) -> None:
    first = patient.submit(caller="one", cost=100)
    patient.submit(caller="one", cost=100)
    for _ in range(5):
        patient.submit(caller="two", cost=100)
    patient.give_back(patient.claim(), FAILURE)
    patient.wait(2)
    patient.due()
    assert patient.claim().id == first.run_id
    assert sorted(patient.claim().caller for _ in range(2)) == ["one", "two"]


def test_a_job_s_own_time_may_be_longer_than_the_usual_wait(records: Records) -> None:
    job = timed(records, start_by=SETTINGS.queue.start_by_s + 100)
    records.wait(SETTINGS.queue.start_by_s + 50)
    assert records.expire() == []
    records.wait(50)
    assert records.expire() == [job]
