"""Intake: a job whose pictures are fetched first is leased like a run, and once accepted never refused."""

from tests.support.store import Records


def test_an_admitted_job_keeps_no_second_copy_of_its_request(records: Records) -> None:
    job = records.submit_pending().id
    assert records.client.hmget(f"sl9:{job}", "request", "terms") != [None, None]
    records.admit(records.claim_pending())
    assert records.client.hmget(f"sl9:{job}", "request", "terms") == [None, None]


def test_an_accepted_job_is_not_refused_by_a_line_that_filled_meanwhile(records: Records) -> None:
    records.set_queue(max_queued=1)
    records.submit_pending()
    records.submit()
    assert records.admit(records.claim_pending()) == "queued"
    assert records.waiting() == 2


def test_an_ended_intake_does_not_keep_the_request_for_days(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    assert records.field(job, "request") is None


def test_one_callers_pictures_leave_room_for_others(records: Records) -> None:
    for _ in range(13):
        records.submit_pending(caller="many")
    records.submit_pending(caller="few")
    callers = [records.claim_pending().caller for _ in range(13)]
    assert (callers.count("many"), records.try_claim(lane="intake")) == (12, None)
