"""Purge: what a caller deletes is gone, and what somebody else still holds is not."""

import pytest

from shared.job import JobView
from shared.store.files import deleted, touch
from tests.support.hooks import HOOK
from tests.support.store import BROKEN, Records

PICTURE = "d" * 64


def remains(records: Records) -> set[str]:
    """Keys that name a job, a run, a question or a picture."""
    return {
        k
        for k in records.key_names()
        if not k.startswith("sl9:purged:")
        and any(w in k for w in ("job_", "run_", "blob:", "cache:", "join:", "jobs:", "pair:"))
    }


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "cancelled", "intake", "fetching"])
def test_a_purged_job_leaves_nothing(records: Records, state: str) -> None:
    records.beat()
    if state in ("intake", "fetching"):
        view = records.submit_pending(blobs=(PICTURE,))
    else:
        view = records.submit("q", blobs=(PICTURE,))
    if state == "fetching":
        records.claim_pending()
    if state in ("running", "succeeded"):
        claim = records.claim()
        records.append(claim, 0, "text")
    if state == "succeeded":
        records.settle(claim)
    if state == "cancelled":
        records.cancel(view.id)
    assert records.purge(view.id) == [PICTURE]
    assert remains(records) == set()
    assert records.try_view(view.id) is None
    assert records.page() == []
    assert records.try_claim() is None
    assert records.submit("q", blobs=()).cache == "MISS"


def test_an_answered_caller_s_own_upload_does_not_keep_the_picture(records: Records) -> None:
    records.beat()
    first = records.submit("q", blobs=(PICTURE,))
    joined = upload_and_submit(records)
    records.settle(records.claim())
    hit = upload_and_submit(records)
    assert [joined.cache, hit.cache] == ["COALESCED", "HIT"]
    assert [records.purge(v.id) for v in (first, joined, hit)] == [[], [], [PICTURE]]


def upload_and_submit(records: Records) -> JobView:
    placing = records.placing("q", blobs=(PICTURE,))
    records.upload(placing)
    return records.accept(placing, uploaded=True)


def test_a_popular_answer_does_not_remember_all_who_asked(records: Records) -> None:
    records.beat()
    run = records.answered("q").run_id
    for _ in range(5):
        records.post(records.placing("q"), retain_s=60)
    records.wait(61)
    records.submit("q")
    assert records.client.zcard(f"sl9:{run}:followers") == 1


def test_an_answer_goes_with_its_last_job_when_the_others_time_was_over(records: Records) -> None:
    records.beat()
    first = records.submit("q")
    records.post(records.placing("q"), retain_s=60)
    records.post(records.placing("q"), stored=False, retain_s=60)
    records.settle(records.claim())
    records.finish()
    records.wait(61)
    records.purge(first.id)
    assert not records.client.exists(f"sl9:{first.run_id}")


def test_an_answer_goes_with_its_last_job_when_the_record_of_another_was_lost(records: Records) -> None:
    records.beat()
    first, lost = records.submit("q"), records.submit("q")
    records.settle(records.claim())
    records.client.delete(f"sl9:{lost.id}")
    records.purge(first.id)
    assert not records.client.exists(f"sl9:{first.run_id}")


def test_a_shared_answer_stays_until_the_last_of_many_jobs_is_deleted(records: Records) -> None:
    jobs = [records.submit("q") for _ in range(40)]
    records.settle(records.claim())
    records.finish()
    for job in jobs[:-1]:
        records.purge(job.id)
    assert records.view(jobs[-1].id).result is not None
    records.purge(jobs[-1].id)
    assert not records.client.exists(f"sl9:{jobs[0].run_id}")


def test_who_holds_an_answer_is_forgotten_with_it_also_once_the_others_are_deleted(records: Records) -> None:
    records.beat()
    first, second = records.submit("q"), records.submit("q")
    records.settle(records.claim())
    records.purge(second.id)
    assert records.submit("q").cache == "HIT"
    assert records.client.ttl(f"sl9:{first.run_id}:followers") > 0


def test_a_picture_uploaded_again_during_a_slow_deletion_is_to_be_written_anew(records: Records) -> None:
    orphans = records.purge(records.submit(blobs=(PICTURE,)).id)
    assert orphans == [PICTURE]
    records.run(touch((PICTURE,), records.placing().job))
    assert records.run(deleted(orphans)) == [PICTURE]


def test_nothing_of_a_deleted_job_s_caller_stays_with_those_who_follow_it(records: Records) -> None:
    first = records.accept(records.placing("q"), metadata={"secret": "of its caller"})
    follower = records.submit("q")
    records.purge(first.id)
    assert "of its caller" not in str(records.client.hgetall(f"sl9:{first.id}"))
    records.settle(records.claim())
    assert records.view(follower.id).status == "succeeded"


def test_who_follows_a_failed_job_is_told_why_though_that_was_deleted(records: Records) -> None:
    first, follower = records.submit("q"), records.submit("q")
    records.settle(records.claim(), BROKEN)
    records.purge(first.id)
    assert records.events(follower.id)[-1].data == BROKEN.model_dump()


def test_an_answer_that_others_read_goes_in_the_end_though_the_webhook_of_its_deleted_job_was_never_called(
    records: Records,
) -> None:
    records.beat()
    first = records.accept(records.placing("q"), webhook=HOOK)
    records.answered("q")
    records.purge(first.id)
    assert records.client.ttl(f"sl9:{first.id}") > 0
