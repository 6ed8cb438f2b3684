"""Settle: a run ends once, with one result, and every job on it ends with it."""

from tests.support.store import BROKEN, LANE, SETTINGS, Records, answer


def test_the_answer_reaches_the_job_and_its_stream(records: Records) -> None:
    job, claim = records.started()
    records.append(claim, 0, "A red square.")
    records.wait(2)
    assert records.settle(claim) == "settled"
    view = records.view(job)
    assert (view.status, view.ended_ms, view.result, view.error) == ("succeeded", records.now, answer(), None)
    assert [(a.number, a.outcome, a.ended_ms) for a in view.attempts] == [(1, "succeeded", records.now)]
    assert records.story(job) == ["queued", "running", "text", "succeeded"]
    assert view.last_event == 4
    assert records.events(job, after=4) == []


def test_a_failure_of_the_caller_s_making_reaches_the_job_and_its_stream(records: Records) -> None:
    job = records.submit().id
    assert records.settle(records.claim(), BROKEN) == "settled"
    view = records.view(job)
    assert (view.status, view.error, view.result) == ("failed", BROKEN, None)
    assert records.events(job)[-1].data == BROKEN.model_dump()


def test_everybody_on_the_run_ends_with_it_and_those_who_left_do_not_change(records: Records) -> None:
    stays, leaves, also_stays = (records.submit("q").id for _ in range(3))
    claim = records.claim()
    records.cancel(leaves)
    left = records.view(leaves)
    records.wait(1)
    records.settle(claim)
    assert [records.view(j).status for j in (stays, also_stays)] == ["succeeded"] * 2
    assert records.view(leaves) == left
    assert left.status == "cancelled"


def test_the_end_is_kept_for_its_time_and_no_longer(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    records.append(claim, 0, "A red")
    records.settle(claim)
    assert records.life(view.id) == records.given(SETTINGS.retention.job_s)
    assert records.kept(view.id) == SETTINGS.retention.result_s
    left = records.client.ttl(f"sl9:{view.run_id}:events")
    assert left == records.given(SETTINGS.retention.result_s)
    records.wait(SETTINGS.retention.job_s)
    assert records.try_view(view.id) is None


def test_a_job_outlives_its_result(records: Records) -> None:
    view = records.answered()
    records.wait(SETTINGS.retention.result_s)
    ended = records.view(view.id)
    assert (ended.status, ended.result) == ("succeeded", None)
    assert records.purge(view.id) == []


def test_how_long_answers_take_is_measured(records: Records) -> None:
    for seconds in (2, 4):
        _, claim = records.started()
        # It waited for a row longer than it was computed.
        records.wait(60)
        records.settle(claim, answer().model_copy(update={"compute_s": float(seconds)}))
    assert float(records.client.hget(f"sl9:lane:{LANE}", "service_ms")) == 0.9 * 2000 + 0.1 * 4000
