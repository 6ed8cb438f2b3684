"""A record that cannot be read fails its own job, and is counted; everything else goes on."""

from collections.abc import Callable

import pytest

from shared.store import jobs, maintenance
from shared.store.admission import cached
from shared.webhooks import Webhook
from tests.support.hooks import HOOK, submit, told_to
from tests.support.store import PRINT, Records
from tests.support.stored_batches import BATCH, take, upload
from tests.support.stored_batches import create as create_batch

Spoil = Callable[[Records, str], object]
FAULTS: dict[str, Spoil] = {
    "no JSON": lambda records, id: records.client.hset(f"sl9:{id}", "s", "{"),
    "a list": lambda records, id: records.client.hset(f"sl9:{id}", "t", "[1"),
    "no lane": lambda records, id: records.change(id, model_lane=None),
}
spoilt = pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS)


def unreadable(records: Records) -> list[str]:
    reasons: dict[str, str] = records.run(maintenance.bad_records())
    return list(reasons)


def failed_typed(records: Records, job: str) -> bool:
    seen = records.view(job)
    return (seen.status, seen.error and seen.error.code) == ("failed", "internal_error")


@spoilt
def test_the_line_goes_on_behind_a_bad_record_and_its_caller_is_told(records: Records, spoil: Spoil) -> None:
    hook = Webhook("https://example.com/", host="example.com")
    bad, good = records.post(records.placing(), webhook=hook).view, records.submit()
    assert bad is not None
    spoil(records, bad.id)
    assert records.claim().id == good.id
    assert failed_typed(records, bad.id)
    assert [event.type for event in records.events(bad.id)] == ["failed"]
    assert ("https://example.com/", "job.failed", bad.id) in told_to(records)
    assert unreadable(records) == [bad.id]
    assert records.purge(bad.id) == []


@spoilt
def test_other_leases_are_looked_after(records: Records, spoil: Spoil) -> None:
    bad, good = records.submit(), records.submit()
    for _ in range(2):
        records.claim()
    spoil(records, bad.id)
    records.lose_worker()
    assert records.claim(fingerprint=PRINT).id == good.id
    assert failed_typed(records, bad.id)


@spoilt
def test_other_deadlines_are_kept(records: Records, spoil: Spoil) -> None:
    soon = records.now + 1000
    bad, good = (records.post(records.placing(), finish_by_ms=soon).view for _ in range(2))
    assert bad is not None
    assert good is not None
    spoil(records, bad.id)
    records.wait(2)
    records.expire()
    assert records.view(good.id).status == "failed"
    assert failed_typed(records, bad.id)


@spoilt
def test_what_its_worker_says_of_a_bad_record_is_lost_and_it_goes_on(records: Records, spoil: Spoil) -> None:
    bad, claim = records.started()
    spoil(records, bad)
    assert records.settle(claim) == "lost"
    assert failed_typed(records, bad)
    good = records.submit()
    records.lose_worker()
    records.wait(100)
    records.renew()
    assert records.claim().id == good.id
    assert len(records.client.hkeys("sl9:held:worker_01")) == 1


@spoilt
def test_those_who_follow_a_bad_record_are_told(records: Records, spoil: Spoil) -> None:
    leader, follower = records.submit("q"), records.submit("q")
    spoil(records, leader.id)
    assert records.try_claim() is None
    records.finish()
    assert failed_typed(records, leader.id)
    assert failed_typed(records, follower.id)
    assert records.submit("q").cache == "MISS"


@pytest.mark.parametrize("spoil", [FAULTS["no JSON"], FAULTS["a list"]])
def test_a_bad_record_that_nobody_meets_again_reads_as_failed(records: Records, spoil: Spoil) -> None:
    good, bad = records.submit(), records.submit()
    spoil(records, bad.id)
    assert failed_typed(records, bad.id)
    page = records.listed()
    assert good.id in {view.id for view in page.views}
    records.cancel(bad.id)
    assert failed_typed(records, bad.id)


@spoilt
def test_a_bad_record_that_a_call_without_settings_meets_is_not_lost(records: Records, spoil: Spoil) -> None:
    bad = records.submit()
    spoil(records, bad.id)
    assert records.run(jobs.abandon("anyone", bad.id, 60)) is None
    assert records.try_claim() is None
    assert failed_typed(records, bad.id)


def test_a_key_of_another_type_is_nobody_s_job(records: Records) -> None:
    bad, good = records.submit(), records.submit()
    records.client.delete(f"sl9:{bad.id}")
    records.client.set(f"sl9:{bad.id}", "x")
    assert records.claim().id == good.id
    assert records.try_view(bad.id) is None
    assert unreadable(records) == [bad.id]


@pytest.mark.parametrize("answer", ["{", "[1]", '"text"'])
def test_an_answer_that_cannot_be_read_is_no_longer_kept(records: Records, answer: str) -> None:
    job, good = records.submit("q"), records.submit()
    records.settle(records.claim())
    records.client.hset(f"sl9:{job.id}", mapping={"result": answer, "bare": answer})
    assert records.view(job.id).expired
    assert records.run(cached(records.placing("q"), records.settings, texts=False)) is None
    page = records.listed()
    assert {view.id for view in page.views} == {job.id, good.id}


def test_the_next_batch_is_taken_up(records: Records) -> None:
    upload(records)
    create_batch(records, id="batch_0a")
    create_batch(records)
    records.client.delete("sl9:batch_0a")
    records.client.set("sl9:batch_0a", "x")
    assert take(records).id == BATCH
    assert unreadable(records) == ["batch_0a"]


HOOK_FAULTS: dict[str, Spoil] = {
    "no events": lambda records, key: records.client.hdel(key, "events"),
    "another type": lambda records, key: (records.client.delete(key), records.client.set(key, "x")),
}


def test_the_webhook_of_a_bad_record_is_called_once(records: Records) -> None:
    view = submit(records)
    records.client.hset(f"sl9:{view.id}", "s", "{")
    assert records.try_claim() is None
    assert [call[1:] for call in told_to(records)] == [("job.failed", view.id)]


@pytest.mark.parametrize("spoil", HOOK_FAULTS.values(), ids=HOOK_FAULTS)
@pytest.mark.parametrize("when", ["queued", "ended"])
def test_an_unreadable_webhook_holds_up_no_job_and_no_other(
    records: Records, spoil: Spoil, when: str
) -> None:
    job, joined = submit(records, "q"), submit(records, "q")
    spoilt_id = f"{job.id}:hook"
    if when == "queued":
        spoil(records, f"sl9:{spoilt_id}")
    records.settle(records.claim())
    records.finish()
    if when == "ended":
        spoil(records, f"sl9:{spoilt_id}")
    assert told_to(records) == [(HOOK.url, "job.succeeded", joined.id)]
    assert {records.view(id).status for id in (job.id, joined.id)} == {"succeeded"}
    assert spoilt_id in unreadable(records)
