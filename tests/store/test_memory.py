"""A full memory: new work is refused whole, accepted work goes on to its end. The real server only."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.errors import Unavailable
from shared.job import JobView
from shared.store import files
from shared.store.claims import Claim
from shared.store.headroom import writable
from shared.store.maintenance import lead
from shared.webhooks import EVENTS, Webhook
from tests.support.existing import existing
from tests.support.hooks import taken
from tests.support.store import FAILURE, LANE, SETTINGS, Records
from tests.support.stored_batches import GOOD, begun, now, submit, write


@contextmanager
def full_memory(records: Records) -> Iterator[None]:
    records.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        records.client.config_set("maxmemory", 0)


def running(records: Records) -> tuple[JobView, Claim]:
    return records.submit(), records.claim()


@pytest.mark.parametrize("pending", [None, "{}"])
def test_a_submit_is_refused_whole(records: Records, pending: str | None) -> None:
    before = records.dump()
    with full_memory(records), pytest.raises(Unavailable) as refusal:
        records.post(records.placing(), pending_terms=pending, idempotency="key", metadata={"a": "b"})
    assert (refusal.value.code, refusal.value.retryable) == ("store_unavailable", True)
    assert refusal.value.retry_after is not None
    assert records.dump() == before


def test_a_join_and_a_hit_are_refused_whole(records: Records) -> None:
    records.beat()
    records.answered("answered")
    records.submit("running")
    before = records.dump()
    for question in ("answered", "running"):
        with full_memory(records), pytest.raises(Unavailable):
            records.submit(question)
    assert records.dump() == before


def test_a_balancer_takes_no_api_away_from_who_waits_for_what_was_accepted(records: Records) -> None:
    _, claim = running(records)
    with full_memory(records):
        assert records.run(writable(SETTINGS))
        assert records.settle(claim) == "settled"


def test_an_upload_is_refused_before_its_bytes_are_written(records: Records) -> None:
    with full_memory(records), pytest.raises(Unavailable):
        records.upload(records.placing(blobs=("d" * 64,)))


def test_accepted_work_is_claimed_published_and_settled(records: Records) -> None:
    job = records.submit().id
    with full_memory(records):
        claim = records.claim()
        assert records.append(claim, 0, "text") == "ok"
        records.wait(9)
        assert records.renew(claim) == []
        records.wait(9)
        assert records.settle(claim) == "settled"
    view = records.view(job)
    assert view.status == "succeeded"
    assert view.result is not None
    assert records.story(job) == ["queued", "running", "text", "succeeded"]


def test_work_is_given_back_and_rescued(records: Records) -> None:
    job, claim = running(records)
    with full_memory(records):
        assert records.give_back(claim, FAILURE) == LANE
        claim = records.claim()
        assert records.lose_worker() == [(claim.id, LANE)]
    assert records.story(job.id) == ["queued", "running", "requeued", "running", "requeued"]


def test_a_caller_can_look_leave_and_delete(records: Records) -> None:
    (first, _), (second, _) = running(records), running(records)
    with full_memory(records):
        cancelled = existing(records.cancel(first.id))
        assert cancelled.status == "cancelled"
        assert records.page() is not None
        assert records.purge(second.id) == []
        assert records.try_view(second.id) is None


def test_fetched_pictures_are_taken_in_and_failed(records: Records) -> None:
    good, bad = records.submit_pending().id, records.submit_pending().id
    with full_memory(records):
        assert records.admit(records.claim_pending()) == "queued"
        assert records.fail_intake(records.claim_pending()) == "settled"
    assert (records.view(good).cache, records.view(bad).status) == ("MISS", "failed")


def test_workers_and_the_maintenance_leader_stay_known(records: Records) -> None:
    with full_memory(records):
        records.beat()
        assert records.store.run(lead("courier_1", 60_000))
        assert records.store.run(lead("courier_1", 60_000))
    records.wait(SETTINGS.queue.worker_ttl_s - 1)
    assert records.post(records.placing(), must_be_ready=True).word == "queued"


def test_a_webhook_is_told_what_ended_on_a_full_memory(records: Records) -> None:
    webhook = Webhook("https://example.com/", EVENTS, host="example.com")
    records.post(records.placing(), webhook=webhook)
    with full_memory(records):
        records.settle(records.claim())
        for type in ("job.running", "job.succeeded"):
            delivery = taken(records)
            assert delivery.notice.type == type
            assert records.tell(delivery) == "settled"


def test_a_full_store_takes_what_writes_a_batchs_answers_down(records: Records) -> None:
    turn = begun(records)
    submit(records, 1)
    claim = records.claim()
    records.wait(60)
    with full_memory(records):
        records.settle(claim)
        assert records.run(files.touch((GOOD,), turn.token, output=True)) == []
        write(records, turn, 1)
    assert now(records).completed == 1
