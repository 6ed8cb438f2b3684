"""Cancel: one caller leaves; only the last one to leave stops the work."""

from shared.store.keys import channel
from tests.support.store import LANE, Records


def test_a_queued_job_ends_at_once_and_is_computed_by_nobody(records: Records) -> None:
    view = records.submit()
    records.wait(1)
    cancelled = records.cancel(view.id)
    assert cancelled == records.view(view.id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.ended_ms, cancelled.started_ms) == ("cancelled", records.now, None)
    assert records.waiting() == 0
    assert records.story(view.id) == ["queued", "cancelled"]


def test_a_running_job_s_worker_loses_its_claim(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    started = records.now
    records.wait(1)
    records.cancel(view.id)
    assert records.renew(claim) == [claim.token]
    assert records.client.zcard(f"sl9:lease:{LANE}") == 0
    cancelled = records.view(view.id)
    assert (cancelled.status, cancelled.started_ms) == ("cancelled", started)
    assert [a.outcome for a in cancelled.attempts] == ["cancelled"]


def test_one_of_two_callers_leaves_and_the_other_s_answer_comes(records: Records) -> None:
    stays, leaves = records.submit("q").id, records.submit("q").id
    claim = records.claim()
    records.append(claim, 0, "A red ")
    records.cancel(leaves)
    records.append(claim, 6, "square.")
    assert records.settle(claim) == "settled"
    assert records.view(stays).status == "succeeded"
    assert records.story(stays) == ["queued", "running", "text", "text", "succeeded"]


def test_who_waits_for_a_job_that_leaves_others_behind_is_woken(records: Records) -> None:
    _, leaves = records.submit("q"), records.submit("q")
    assert news_of_a_cancel(records, leaves.id, str(leaves.run_id)) == [1, "state"]


def test_the_worker_of_a_run_that_nobody_waits_for_is_woken(records: Records) -> None:
    job = records.submit()
    records.claim(worker="worker_01")
    assert news_of_a_cancel(records, job.id, "worker_01") == [1, "state"]


def news_of_a_cancel(records: Records, job: str, listener: str) -> list[object]:
    with records.client.pubsub() as heard:
        heard.subscribe(channel(listener))
        records.cancel(job)
        records.client.publish(channel(listener), "last")
        return [next(heard.listen())["data"] for _ in range(2)]


def test_who_left_reads_the_stream_to_their_own_end_and_no_further(records: Records) -> None:
    _, leaves = records.submit("q").id, records.submit("q").id
    claim = records.claim()
    records.append(claim, 0, "A red ")
    records.wait(1)
    records.cancel(leaves)
    left = records.now
    at_once = records.events(leaves)
    records.wait(1)
    records.append(claim, 6, "square.")
    records.settle(claim)
    assert records.events(leaves) == at_once
    assert [(e.id, e.type) for e in at_once] == [(1, "queued"), (2, "running"), (3, "text"), (4, "cancelled")]
    assert (at_once[-1].at_ms, records.view(leaves).last_event) == (left, 4)


def test_who_left_before_the_start_is_never_said_to_have_run(records: Records) -> None:
    _, leaves = records.submit("q").id, records.submit("q").id
    records.cancel(leaves)
    records.wait(1)
    records.settle(records.claim())
    view = records.view(leaves)
    assert (view.status, view.started_ms, view.attempts, view.result) == ("cancelled", None, (), None)


def test_the_last_one_to_leave_stops_the_work(records: Records) -> None:
    jobs = [records.submit("q").id for _ in range(3)]
    claim = records.claim()
    for job in jobs[:2]:
        records.cancel(job)
        assert records.renew(claim) == []
    records.cancel(jobs[2])
    assert records.renew(claim) == [claim.token]


def test_a_job_whose_pictures_are_fetched_ends_at_once(records: Records) -> None:
    fetching, waiting = records.submit_pending(), records.submit_pending()
    claim = records.claim_pending()
    assert claim.id == fetching.id
    for view in (waiting, fetching):
        records.cancel(view.id)
        assert records.story(view.id) == ["cancelled"]
        assert (records.view(view.id).status, records.view(view.id).last_event) == ("cancelled", 1)
    assert records.renew(claim) == [claim.token]
    assert records.admit(claim) == "lost"
    assert records.try_claim(lane="intake") is None


def test_who_left_sees_their_job_no_longer_for_the_work_that_goes_on(records: Records) -> None:
    first, _ = records.submit("q"), records.submit("q")
    records.cancel(first.id)
    records.wait(records.settings.retention.job_s - 1)
    records.settle(records.claim())
    records.wait(2)
    assert records.try_view(first.id) is None
