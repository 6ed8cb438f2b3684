"""Intake: a job whose pictures are fetched first is leased like a run, and once accepted never refused."""

from dataclasses import replace

from shared.store.admission import admit
from tests.support.store import BROKEN, LANE, SETTINGS, Records

PICTURE = "d" * 64


def test_the_courier_gets_what_it_needs(records: Records) -> None:
    view = records.submit_pending(caller="anyone")
    claim = records.claim_pending()
    assert (claim.id, claim.caller, claim.attempt, claim.terms) == (view.id, "anyone", 1, '{"reuse":true}')
    assert claim.request.startswith('{"ask"')
    assert records.view(view.id).status == "queued"


def test_an_admitted_job_waits_for_its_model(records: Records) -> None:
    job = records.submit_pending().id
    claim = records.claim_pending()
    placing = replace(records.placing("q", job=job), request='{"with":"digests"}')
    assert records.run(admit(placing, SETTINGS, token=claim.token)) == "queued"
    view = records.view(job)
    assert (view.status, view.cache, view.waiting_reason, view.attempts) == (
        "queued",
        "MISS",
        "no_worker",
        (),
    )
    assert records.renew(claim) == [claim.token]
    run = records.claim()
    assert (run.id, run.request, run.attempt) == (view.run_id, '{"with":"digests"}', 1)
    records.settle(run)
    assert records.story(job) == ["queued", "running", "succeeded"]


def test_an_admitted_job_keeps_no_second_copy_of_its_request(records: Records) -> None:
    job = records.submit_pending().id
    assert records.client.hmget(f"sl9:{job}", "request", "terms") != [None, None]
    records.admit(records.claim_pending())
    assert records.client.hmget(f"sl9:{job}", "request", "terms") == [None, None]


def test_an_admitted_job_joins_what_runs_already(records: Records) -> None:
    run = records.submit("q").run_id
    job = records.submit_pending().id
    assert records.admit(records.claim_pending(), "q") == "placed"
    assert (records.view(job).run_id, records.view(job).cache) == (run, "COALESCED")


def test_an_admitted_job_gets_a_cached_answer(records: Records) -> None:
    records.beat()
    records.answered("q")
    job = records.submit_pending().id
    assert records.admit(records.claim_pending(), "q") == "placed"
    view = records.view(job)
    assert (view.status, view.cache) == ("succeeded", "HIT")
    assert records.story(job)[-1] == "succeeded"
    assert records.life(job) == records.given(SETTINGS.retention.job_s)


def test_an_accepted_job_is_not_refused_by_a_line_that_filled_meanwhile(records: Records) -> None:
    records.set_queue(max_queued=1)
    records.submit_pending()
    records.submit()
    assert records.admit(records.claim_pending()) == "queued"
    assert records.waiting() == 2


def test_pictures_that_cannot_be_had_end_the_job_once(records: Records) -> None:
    job = records.submit_pending().id
    claim = records.claim_pending()
    assert records.fail_intake(claim) == "settled"
    view = records.view(job)
    assert (view.status, view.error, view.last_event) == ("failed", BROKEN, 1)
    before = records.dump()
    assert records.fail_intake(claim) == "settled"
    assert records.admit(claim) == "lost"
    assert records.dump() == before


def test_a_job_that_ends_courier_after_courier_is_poison(records: Records) -> None:
    job = records.submit_pending().id
    for _ in range(3):
        records.claim_pending()
        records.lose_worker()
    view = records.view(job)
    assert (view.status, view.error and view.error.code) == ("failed", "poison")
    assert records.story(job) == ["failed"]


def test_deaths_of_couriers_are_not_held_against_the_run(records: Records) -> None:
    job = records.submit_pending().id
    for _ in range(2):
        records.claim_pending()
        records.lose_worker()
    records.admit(records.claim_pending())
    records.claim()
    assert records.lose_worker()[0][1] == LANE
    assert records.view(job).status == "running"


def test_an_ended_intake_does_not_keep_the_request_for_days(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    assert records.field(job, "request") is None


def test_pictures_of_a_job_pass_to_its_run(records: Records) -> None:
    job = records.submit_pending(blobs=(PICTURE,)).id
    assert records.client.zrange(f"sl9:blob:{PICTURE}", 0, -1) == [job]
    claim = records.claim_pending()
    records.admit(claim, blobs=(PICTURE,))
    assert records.client.zrange(f"sl9:blob:{PICTURE}", 0, -1) == [records.view(job).run_id]
