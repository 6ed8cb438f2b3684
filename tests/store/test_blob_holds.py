"""Blob holds: a picture is there for as long as work needs it, and its record is not kept for ever."""

from dataclasses import replace

import pytest

from shared.job import JobView
from shared.store.files import keep_thumbnail, mark_deleted
from tests.support.store import BROKEN, FAILURE, SETTINGS, Records

PICTURE, OTHER = "d" * 64, "e" * 64
KEY = f"sl9:blob:{PICTURE}"
LONGEST_WORK_S = 32 * 86_400


def test_who_sends_a_picture_is_not_told_by_the_time_that_another_asks_about_it(records: Records) -> None:
    def asked(caller: str) -> str:
        return records.post(records.placing(blobs=(PICTURE,), caller=caller), sent=(PICTURE,)).word

    records.submit(blobs=(PICTURE,), caller="a")
    assert [asked(caller) for caller in "ab"] == ["queued", "pictures"]


def test_who_sends_one_picture_need_not_send_those_it_names_and_others_ask_about(records: Records) -> None:
    records.submit(blobs=(PICTURE,), caller="a")
    placing = records.placing(blobs=(PICTURE, OTHER), caller="b")
    assert records.post(placing, sent=(OTHER,)).missing == (OTHER,)


def test_a_picture_that_came_with_its_request_is_held_at_once_until_it_is_written(records: Records) -> None:
    placing = records.placing(blobs=(PICTURE, OTHER))
    asked = records.post(placing, sent=(PICTURE, OTHER))
    assert (asked.missing, asked.unheld) == ((PICTURE, OTHER), ())
    assert records.run(mark_deleted([PICTURE, OTHER])) == []
    assert records.post(placing, uploaded=True).word == "queued"
    records.settle(records.claim())
    assert records.client.zcard(KEY) == 1, "only the run holds it"


def test_a_picture_that_is_there_stays_while_those_beside_it_are_uploaded(records: Records) -> None:
    """Else its job would be accepted and then fail, because another was deleted meanwhile."""
    former = records.submit(blobs=(PICTURE,))
    placing = records.placing("other", blobs=(PICTURE, OTHER))
    assert records.post(placing, sent=(PICTURE, OTHER)).missing == (OTHER,)
    assert records.purge(former.id) == []
    assert records.post(placing, uploaded=True).word == "queued"
    assert records.run(mark_deleted([PICTURE])) == []


def test_a_picture_somebody_is_only_uploading_is_not_there_yet(records: Records) -> None:
    records.upload(records.placing(blobs=(PICTURE,)))
    assert records.post(records.placing(blobs=(PICTURE,))).word == "pictures"


def test_pictures_are_held_to_the_end_though_their_work_took_long_or_is_kept_long(records: Records) -> None:
    placing = records.placing(blobs=(PICTURE,))
    records.upload(placing)
    records.post(placing, uploaded=True, retain_s=86_400 * 366)
    records.wait(LONGEST_WORK_S)
    records.settle(records.claim())
    assert records.client.ttl(KEY) == records.given(86_400 * 366)


def test_expired_holds_of_a_popular_picture_do_not_pile_up(records: Records) -> None:
    for _ in range(60):
        records.submit(blobs=(PICTURE,))
        records.settle(records.claim())
        records.wait(SETTINGS.retention.result_s + 1.001)
    assert records.client.zcard(KEY) <= 16


def test_a_hit_does_not_say_that_a_picture_is_there_which_nobody_held(records: Records) -> None:
    run = answered(records)
    # Else the answer lives long enough, and nothing is prolonged.
    records.client.expire(f"sl9:{run}", 40)
    records.client.zadd(KEY, {run: records.now - 1})
    assert records.submit("q").cache == "HIT"
    assert records.post(records.placing(blobs=(PICTURE,))).word == "pictures"


@pytest.mark.parametrize("question", ["q", "another"])
def test_a_picture_whose_bytes_were_lost_is_there_again_when_its_next_asker_has_sent_it(
    records: Records, question: str
) -> None:
    records.submit("held beside", blobs=(PICTURE,))
    records.submit("q", blobs=(PICTURE, OTHER))
    records.claim()
    records.give_back(records.claim(), FAILURE, missing=(PICTURE,))
    placing = records.placing(question, blobs=(PICTURE, OTHER))
    asked = records.post(placing)
    assert (asked.word, asked.missing) == ("pictures", (PICTURE,))
    assert records.try_view(placing.job) is None
    records.upload(replace(placing, blobs=asked.missing))
    assert records.post(records.placing("q", blobs=(PICTURE,))).word == "pictures", "it is only on its way"
    assert records.post(placing, uploaded=True).view is not None
    assert records.post(records.placing(question, blobs=(PICTURE, OTHER))).word == "known"
    assert records.post(records.placing(blobs=(PICTURE, OTHER))).word == "queued"


def test_runs_that_end_or_begin_do_not_say_that_a_lost_picture_is_there(records: Records) -> None:
    def asked() -> str:
        return records.post(records.placing(blobs=(PICTURE,))).word

    job = records.submit(blobs=(PICTURE,)).id
    claim = records.claim()
    waiting = records.submit(blobs=(PICTURE,)).id
    records.give_back(claim, FAILURE, missing=(PICTURE,))
    assert asked() == "pictures"
    records.cancel(waiting)
    assert asked() == "pictures"
    while failing := records.try_claim():
        assert asked() == "pictures"
        records.give_back(failing, FAILURE)
    assert records.view(job).status == "failed"
    assert asked() == "pictures"


def test_a_picture_that_one_worker_missed_and_another_read_is_not_asked_for_again(records: Records) -> None:
    records.submit(blobs=(PICTURE, OTHER))
    records.give_back(records.claim(), FAILURE, missing=(PICTURE, OTHER))
    records.settle(records.claim())
    assert records.post(records.placing(blobs=(PICTURE, OTHER))).word == "queued"


def test_what_is_known_of_a_lost_picture_is_kept_no_longer_than_somebody_holds_it(records: Records) -> None:
    records.submit(blobs=(PICTURE,))
    claim = records.claim()
    records.give_back(claim, FAILURE, missing=(PICTURE, OTHER))
    assert not records.client.exists(f"sl9:blob:{OTHER}")
    records.settle(records.claim(), BROKEN)
    assert records.client.ttl(KEY) > 0
    records.wait(SETTINGS.retention.result_s + 1)
    assert records.run(mark_deleted([PICTURE])) == [PICTURE]
    assert not records.client.exists(KEY)


def answered(records: Records) -> str:
    """The run that answered `q`, about a picture."""
    records.beat()
    records.submit("q", blobs=(PICTURE,))
    claim = records.claim()
    records.settle(claim)
    return claim.id


def thumbnail(records: Records, job: JobView, caller: str = "anyone") -> bool:
    records.upload(records.placing(job="job_9", blobs=(OTHER,)))
    return records.run(keep_thumbnail(caller, job.id, PICTURE, OTHER, "job_9"))


def test_a_thumbnail_made_too_late_is_held_by_nobody(records: Records) -> None:
    job, pending = records.submit(blobs=(PICTURE,)), records.submit_pending()
    assert not thumbnail(records, job, caller="somebody")
    assert not thumbnail(records, pending)
    records.settle(records.claim())
    records.purge(job.id)
    assert not thumbnail(records, job)
    assert records.run(mark_deleted([OTHER])) == [OTHER]


def test_hit_keeps_the_pictures_as_long_as_the_answer(records: Records) -> None:
    run = answered(records)
    records.wait(60)
    assert records.submit("q").cache == "HIT"
    assert records.client.zscore(KEY, run) == records.now + SETTINGS.retention.result_s * 1000
