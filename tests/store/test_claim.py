"""Claim: the best waiting work, once, and again for the same token when the reply was lost."""

from shared.store.claims import Claim
from shared.store.keys import INTAKE
from tests.support.store import LANE, Records


def test_a_late_repeat_of_a_claim_that_was_given_up_is_an_attempt_of_its_own(records: Records) -> None:
    records.submit()
    token = records.token()
    records.claim(token=token)
    records.lose_worker()
    assert records.claim(token=token).attempt == 2
    assert records.try_claim() is None


def test_urgent_work_is_taken_first_and_patient_work_last(records: Records) -> None:
    order = ("batch", "normal", "interactive", "normal", "interactive", "batch")
    views = [records.submit(priority=p) for p in order]
    taken = [records.claim().id for _ in views]
    assert taken == [views[i].run_id for i in (2, 4, 1, 3, 0, 5)]


def test_a_model_s_worker_takes_only_its_model_s_work(records: Records) -> None:
    records.submit()
    assert records.try_claim(lane="model.other") is None
    records.claim()


def test_a_stray_entry_of_the_line_is_passed_over(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    records.client.zadd(f"sl9:line:{LANE}:normal:anyone", {"run_gone": 1, claim.id: 2})
    records.client.zadd(f"sl9:turns:{LANE}:normal", {"anyone": 0})
    records.client.zadd(f"sl9:suspects:{LANE}", {"run_lost": 1})
    records.change_lane(n2=2, x2=1)
    other = records.submit()
    assert records.claim().id == other.run_id
    assert records.view(view.id).status == "running"


def test_work_that_ended_and_was_left_standing_stops_nobody(records: Records) -> None:
    """Looked at for ever it would hold up the whole store, and only a kill would end that."""
    bad = records.submit_pending().id
    records.change(bad, status="failed", state="failed")
    good = records.submit_pending().id
    assert records.claim_pending().id == good
    assert records.waiting(INTAKE) == 0


def test_work_of_a_removed_model_that_stands_only_in_line_stops_nobody(records: Records) -> None:
    records.submit_pending()
    records.remove_model()
    records.add_model()
    good = records.submit_pending().id
    assert records.claim_pending().id == good


def test_a_run_whose_late_job_had_ended_is_not_looked_at_for_ever(records: Records) -> None:
    view = records.accept(records.placing(), finish_by_ms=records.now + 1000)
    records.change(view.id, status="failed")
    records.wait(1)
    assert records.claim().id == view.run_id


def test_others_reach_the_store_while_a_long_line_is_found_to_be_too_late(records: Records) -> None:
    """One claim that ended all of ten thousand held the store up for seconds."""
    soon = records.now + 1000
    jobs = [records.post(records.placing(), finish_by_ms=soon).view for _ in range(150)]
    fresh = records.submit()
    records.wait(1)
    assert records.claim_within(8) == "again"
    ended = [job for job in jobs if job and records.view(job.id).ended]
    assert 0 < len(ended) < 100
    while (claim := records.claim_within(8)) == "again":
        pass
    assert isinstance(claim, Claim)
    assert claim.id == fresh.run_id


def test_a_claim_whose_reply_was_lost_survives_the_pause(records: Records) -> None:
    records.submit()
    token = records.token()
    claim = records.claim(token=token)
    records.pause()
    assert records.try_claim(token=token) == claim


def test_other_models_go_on(records: Records) -> None:
    records.pause()
    records.submit(lane="model.other")
    assert records.try_claim(lane="model.other") is not None
    assert records.lane_state()["paused"]
