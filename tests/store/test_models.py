"""Models that come and go: a drained one takes nothing new, a removed one ends what waits for it, once."""

import json

from shared.job import JobView
from shared.store import jobs, maintenance, models, workers
from tests.support.store import FAILURE, LANE, MODEL, OTHER_PRINT, Records

ROW = json.dumps({"id": MODEL, "engine": "echo"})
OTHER_ROW = json.dumps({"id": MODEL, "engine": "echo", "revision": "main", "source": "elsewhere"})


def test_a_model_is_drained_when_nothing_of_it_is_left_wherever_that_waits(records: Records) -> None:
    """Its workers are stopped then, and it is removed."""

    def drained() -> bool:
        (known,) = records.run(workers.fleet(records.settings, [LANE]))
        return known.drained

    records.set_queue(backoff_s=50)
    assert not drained()
    records.submit()
    records.submit_pending()
    records.submit_pending(lane="model.other")
    records.drain()
    claim = records.claim()
    assert not drained(), "one runs"
    records.give_back(claim, FAILURE)
    assert not drained(), "one is tried again, one's picture is fetched"
    fetched = records.claim_pending()
    assert not drained()
    records.fail_intake(fetched)
    assert not drained()
    records.wait(60)
    records.run(maintenance.due())
    records.settle(records.claim())
    assert drained(), "only another model's picture is fetched"


def test_other_models_keep_their_jobs(records: Records) -> None:
    other = records.submit(lane="model.other")
    pending = records.submit_pending(lane="model.other")
    records.remove_model()
    assert records.sweep() == 0
    assert [records.view(job.id).status for job in (other, pending)] == ["queued", "queued"]
    assert records.run(models.registrations()).removing == {}, "it is looked for again and again"


def test_a_row_is_kept_and_another_one_under_the_same_id_is_refused(records: Records) -> None:
    other = json.dumps({"id": MODEL, "engine": "echo", "rows": 2})
    assert records.add_model(ROW) == "added"
    assert records.add_model(ROW) == "unchanged"
    assert records.add_model(other) == "conflict"
    assert records.run(models.registrations()).rows == {LANE: ROW}
    records.remove_model()
    assert records.add_model(other) == "added"
    assert records.run(models.registrations()).rows == {LANE: other}


def test_a_worker_of_the_row_before_serves_nothing_of_the_row_that_came_after(records: Records) -> None:
    """Callers would be told another model's answers, old or new ones, under this one's name."""
    other = OTHER_ROW
    assert records.add_model(ROW) == "added"
    assert records.beat(row=ROW, facts={"rows": "4", "engine": "echo"}) == "OK"
    records.submit("asked before")
    assert records.settle(records.claim(row=ROW)) == "settled"
    records.remove_model()
    assert records.add_model(other) == "added"
    state = records.run(jobs.lane(records.settings, LANE))
    assert (state.ready, state.rows) == (0, 1)
    asked = records.post(records.placing("asked before"))
    assert asked.word == "queued", "the answer of the other model is in the cache"
    assert records.try_claim(row=ROW) is None
    assert records.beat(row=ROW) == "outdated"
    assert records.run(jobs.lane(records.settings, LANE)).ready == 0
    assert records.beat(row=other, fingerprint=OTHER_PRINT, facts={"rows": "2", "engine": "echo"}) == "OK"
    assert records.try_claim(row=other, fingerprint=OTHER_PRINT) is not None


def test_a_question_asked_after_the_change_is_not_answered_by_the_model_before_it(records: Records) -> None:
    """The model before it may run for long: what it computes is joined by nobody new."""
    records.add_model(ROW)
    before = records.submit("q")
    claim = records.claim(row=ROW)
    records.remove_model()
    records.add_model(OTHER_ROW)
    after, same = records.submit("q"), records.submit("q")
    assert [job.cache for job in (after, same)] == ["MISS", "COALESCED"]
    assert records.settle(claim) == "settled"
    assert records.view(before.id).status == "succeeded"
    assert records.view(after.id).status == "queued"
    assert records.settle(records.claim(row=OTHER_ROW, fingerprint=OTHER_PRINT)) == "settled"
    assert [records.view(job.id).status for job in (after, same)] == ["succeeded"] * 2


def test_a_model_that_is_added_again_as_it_was_goes_on_with_its_cached_answers(records: Records) -> None:
    assert records.add_model(ROW) == "added"
    records.beat(row=ROW)
    records.submit("asked before")
    records.settle(records.claim(row=ROW))
    records.remove_model()
    assert records.post(records.placing("asked before")).word == "removed"
    records.beat(row=ROW)
    assert records.add_model(ROW) == "added"
    assert records.post(records.placing("asked before")).word == "queued"
    records.beat(row=ROW)
    assert records.post(records.placing("asked before")).word == "known"


def test_what_the_model_before_gives_back_ends_though_nobody_comes_to_claim_it(records: Records) -> None:
    job, claim = records.started()
    records.remove_model()
    ((_, generation),) = records.run(models.registrations()).removing.items()
    # A walk that has passed it is not over yet.
    records.run(models.sweep(records.settings, LANE, [job], None))
    records.give_back(claim)
    records.run(models.sweep(records.settings, LANE, [], generation))
    assert records.run(models.registrations()).removing == {}
    assert failure(records.view(job)) == "model_removed"


def test_a_model_removed_again_is_walked_for_anew(records: Records) -> None:
    """Else what came behind the walk for the first removal would wait for ever."""
    records.remove_model()
    records.add_model()
    ((_, generation),) = records.run(models.registrations()).removing.items()
    job = records.submit_pending()
    records.remove_model()
    records.run(models.sweep(records.settings, LANE, [], generation))
    assert records.sweep() == 1
    assert failure(records.view(job.id)) == "model_removed"


def test_a_job_that_was_deleted_during_the_walk_is_no_bad_record(records: Records) -> None:
    job = records.submit()
    records.remove_model()
    records.purge(job.id)
    assert records.run(models.sweep(records.settings, LANE, [job.id], None)) == 0
    assert not records.client.exists("sl9:bad")


def test_a_model_that_could_not_be_loaded_comes_back_without_that(records: Records) -> None:
    records.add_model(ROW)
    records.beat(state="gone", facts={"failed": "no such folder"})
    records.remove_model()
    records.pause()
    records.drain()
    assert records.add_model(ROW) == "added"
    state = records.run(jobs.lane(records.settings, LANE))
    assert (state.failed, state.paused, state.draining) == (None, False, False)


def test_none_of_many_is_forgotten_though_each_step_is_small(records: Records) -> None:
    many = 3 * models.AT_ONCE
    jobs = [records.submit() for _ in range(many)] + [records.submit_pending() for _ in range(many)]
    other = records.submit_pending(lane="model.other")
    records.remove_model()
    assert records.sweep() == 2 * many
    assert {failure(records.view(job.id)) for job in jobs} == {"model_removed"}
    assert records.view(other.id).status == "queued"


def failure(view: JobView) -> str | None:
    assert view.status == "failed"
    return view.error.code if view.error else None


def test_removed_models_jobs_never_begin_in_the_next_one(records: Records) -> None:
    early = records.submit("q")
    records.remove_model()
    records.add_model()
    late = records.submit("q")
    assert records.claim().id == late.run_id
    assert failure(records.view(early.id)) == "model_removed"
