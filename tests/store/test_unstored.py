"""A job that is not to be stored leaves nothing behind once its caller has read its end."""

from typing import Any

from shared.job import JobView
from shared.store import jobs, webhooks
from shared.webhooks import EVENTS, Webhook
from tests.support.existing import existing
from tests.support.hooks import taken
from tests.support.store import Records

UNSTORED: dict[str, Any] = {"stored": False, "retain_s": 60}
PICTURE = "d" * 64
HOOK = Webhook("https://example.com/told", host="example.com")


def submit(records: Records, question: str = "", **how: Any) -> JobView:
    """As the API does, which gives such a request no key under which others find its run."""
    said = {name: how.pop(name) for name in ("webhook", "idempotency", "body_digest") if name in how}
    placing = records.placing(question, key=None, **how)
    records.upload(placing)
    return records.accept(placing, uploaded=True, **UNSTORED, **said)


def forget(records: Records, job: str) -> list[str] | None:
    """What the API does behind the answer."""
    return records.run(jobs.purge(records.settings, "anyone", job, delivered=True))


def traces(records: Records, *words: str) -> list[str]:
    """Keys that hold one of these words, or are named after it; the marks of a deletion last for seconds."""
    dump = {key: repr(said) for key, said in records.dump().items()}
    marks = ("sl9:purged:", "sl9:deleting:")
    return [k for k, said in dump.items() if not k.startswith(marks) and any(w in k + said for w in words)]


def test_a_job_that_is_to_be_stored_is_not_forgotten_by_being_read(records: Records) -> None:
    job = records.answered()
    assert forget(records, job.id) is None
    assert records.view(job.id).result is not None


def test_where_nobody_is_told_it_is_gone_soon(records: Records) -> None:
    job = submit(records, "what is this", blobs=(PICTURE,), idempotency="key", webhook=HOOK)
    claim = records.claim()
    records.settle(claim)
    left = {key: records.client.ttl(key) for key in traces(records, job.id, claim.id)}
    # The key of a picture goes with its bytes, once nothing holds them.
    assert records.client.zscore(f"sl9:blob:{PICTURE}", claim.id) <= records.now + 60_000
    lines = {key for key in left if key.startswith(("sl9:calls:", "sl9:blob:"))}
    assert f"sl9:{job.id}:hook" in left
    assert {key: ttl for key, ttl in left.items() if key not in lines and not 0 < ttl <= 60} == {}


def test_its_webhook_is_told_although_it_was_read_before(records: Records) -> None:
    job = submit(records, webhook=HOOK)
    records.settle(records.claim())
    assert forget(records, job.id) is None
    delivery = taken(records)
    records.tell(delivery, None, error="timeout", delay_s=5)
    assert forget(records, job.id) is None
    records.wait(6)
    delivery = taken(records)
    records.tell(delivery)
    assert forget(records, job.id) == []
    assert traces(records, job.id) == []


def test_a_receiver_that_fails_keeps_it_no_longer(records: Records) -> None:
    job = submit(records, webhook=HOOK)
    records.settle(records.claim())
    records.client.expire(f"sl9:{job.id}", 20)
    delivery = taken(records)
    assert records.tell(delivery, 500, error="no", delay_s=5) == "settled"
    assert records.client.ttl(f"sl9:{job.id}") <= 20


def test_told_again_it_lives_no_longer(records: Records) -> None:
    job = submit(records, webhook=HOOK)
    records.settle(records.claim())
    records.run(webhooks.redeliver(records.settings, "anyone", job.id))
    left = {
        key: records.client.ttl(key) for key in traces(records, job.id) if key.startswith(f"sl9:{job.id}")
    }
    assert {key: ttl for key, ttl in left.items() if not 0 < ttl <= 60} == {}


def test_a_job_whose_pictures_were_fetched_is_forgotten_as_well(records: Records) -> None:
    placing = records.placing("what is this", key=None)
    view = records.accept(placing, pending_terms='{"reuse":false}', **UNSTORED)
    claim = records.claim_pending()
    records.upload(records.placing(job=view.id, blobs=(PICTURE,)))
    records.admit_placing(claim, records.placing("what is this", job=view.id, key=None, blobs=(PICTURE,)))
    run = records.claim()
    assert not run.stored
    records.settle(run)
    assert forget(records, view.id) == [PICTURE]
    assert traces(records, view.id, run.id, "what is this", PICTURE) == []


def test_asked_again_it_is_still_not_to_be_stored(records: Records) -> None:
    job = submit(records)
    records.settle(records.claim())
    asked = existing(records.run(jobs.asked("anyone", job.id)))
    assert not asked.stored


def test_of_a_call_that_expired_with_it_nothing_stays(records: Records) -> None:
    for _ in range(2):
        records.cancel(submit(records, webhook=HOOK).id)
    late = taken(records)
    records.tell(late, None, error="timeout", delay_s=7200)
    assert records.next_delivery() is not None
    for key in traces(records, "job_", "run_"):
        if records.client.ttl(key) > 0:
            records.client.delete(key)
    records.wait(7200)
    records.rescue()
    assert records.next_delivery() is None
    assert traces(records, "job_") == []


def test_its_beginning_is_told_although_its_end_was_told_before(records: Records) -> None:
    job = submit(records, webhook=Webhook(HOOK.url, EVENTS, host="example.com"))
    claim = records.claim()
    began = taken(records)
    records.tell(began, None, error="timeout", delay_s=5)
    records.settle(claim)
    ended = taken(records)
    assert records.tell(ended) == "settled"
    assert forget(records, job.id) is None
    records.wait(6)
    again = taken(records)
    assert again.notice.type == "job.running"
    assert records.tell(again) == "forget"


def test_its_idempotency_key_is_good_for_no_longer_than_any_other(records: Records) -> None:
    longer = {**UNSTORED, "retain_s": 10 * round(records.settings.retention.idempotency_s)}
    records.accept(records.placing(key=None), idempotency="key", body_digest="body", **longer)
    records.settle(records.claim())
    assert 0 < records.client.ttl("sl9:idem:anyone:key") <= records.settings.retention.idempotency_s
