"""Webhooks in the store: nothing is told twice at once, nothing is lost, nothing stays behind."""

import json
from dataclasses import replace

import pytest

from shared.store import keys, webhook_deliveries, workers
from shared.store.webhook_events import message_id
from shared.webhooks import Webhook, body_of
from tests.support.existing import existing
from tests.support.hooks import ALL, HOOK, SECRET, ended, job_of, submit, taken, told_to
from tests.support.store import SETTINGS, START_MS, Records


def test_each_job_of_a_shared_run_has_its_own_call(records: Records) -> None:
    jobs = {submit(records, "q").id for _ in range(3)}
    records.answered("q")
    assert sorted(subject for _, _, subject in told_to(records)) == sorted(jobs)


def test_what_was_not_asked_for_is_not_told(records: Records) -> None:
    submit(records, webhook=Webhook(HOOK.url, ("job.failed",), host="example.com"))
    records.settle(records.claim())
    assert records.next_delivery() is None


def test_the_beginning_is_told_where_it_was_asked_for(records: Records) -> None:
    first = submit(records, "q", ALL)
    claim = records.claim()
    second = submit(records, "q", ALL)
    assert [call[1:] for call in told_to(records)] == [
        ("job.running", first.id),
        ("job.running", second.id),
    ]
    records.give_back(claim)
    records.settle(records.claim())
    assert [type for _, type, _ in told_to(records)] == ["job.succeeded"] * 2


def test_a_killed_courier_s_call_is_another_s_with_the_same_id_and_body(records: Records) -> None:
    ended(records)
    first = taken(records)
    assert records.next_delivery() is None
    records.lose_worker()
    second = taken(records)
    assert (body_of(second.notice), second) == (body_of(first.notice), replace(first, claim=second.claim))
    assert records.tell(first) == "lost"
    assert records.tell(second) == "settled"
    assert records.tell(second) == "lost"
    assert records.next_delivery() is None


def test_a_failed_call_comes_again_when_its_pause_is_over(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 500, error="no", delay_s=5)
    records.wait(4.9)
    assert records.next_delivery() is None
    records.wait(0.1)
    again = taken(records)
    assert (again.tries, again.notice.subject) == (1, view.id)


def test_the_job_tells_when_its_webhook_is_tried_again(records: Records) -> None:
    view = ended(records)
    due = [next_try(records, view.id)]
    records.tell(taken(records), 500, error="no", delay_s=5)
    due.append(next_try(records, view.id))
    records.wait(5)
    records.tell(taken(records))
    assert [*due, next_try(records, view.id)] == [None, START_MS + 5000, None]


def next_try(records: Records, job: str) -> int | None:
    hook = existing(records.view(job).hook)
    return hook.next_ms


def test_a_receiver_that_was_gone_is_told_again_where_its_caller_asks(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 410, error="gone")
    records.run(webhook_deliveries.replay(records.settings, "anyone", view.id))
    records.tell(taken(records), 500, error="no", delay_s=1)
    records.wait(1)
    assert taken(records).tries == 1


def test_a_webhook_that_heard_of_the_beginning_is_not_said_to_have_heard_of_the_end(records: Records) -> None:
    def delivered() -> int | None:
        hook = existing(records.view(view.id).hook)
        return hook.delivered_ms

    view = submit(records, webhook=ALL)
    claim = records.claim()
    records.tell(taken(records))
    assert delivered() is None
    assert records.client.ttl(f"sl8:{view.id}") == -1, "it has not ended"
    records.settle(claim)
    records.tell(taken(records))
    assert delivered() == records.now


def test_a_webhook_is_still_told_of_a_job_whose_answer_is_no_longer_kept(records: Records) -> None:
    view = ended(records)
    records.wait(SETTINGS.retention.event_s)
    delivery = taken(records)
    assert delivery.notice.type == "job.succeeded"
    assert job_of(delivery).result is None
    assert records.client.ttl(f"sl8:{view.id}") == -1
    records.tell(delivery)
    assert 0 < records.life(view.id) <= 1000
    assert 0 < records.client.ttl(f"sl8:{view.id}:hook") <= 1000
    assert 0 < records.client.ttl(f"sl8:{view.id}:deliveries") <= 1000


def test_a_purged_job_s_webhook_is_told_nothing(records: Records) -> None:
    for job in (submit(records, webhook=ALL), submit(records, webhook=ALL)):
        records.claim()
        records.purge(job.id)
    assert records.next_delivery() is None
    assert not [key for key in records.key_names() if "job_" in key and "purged" not in key]
    assert not [key for key in records.key_names() if "hook:" in key and key != "sl8:lane:hook"]


def test_a_call_in_flight_of_a_purged_job_writes_nothing(records: Records) -> None:
    view = ended(records)
    delivery = taken(records)
    records.purge(view.id)
    assert records.tell(delivery) == "lost"
    assert not [key for key in records.key_names() if "job_" in key and "purged" not in key]
    assert records.next_delivery() is None


def test_a_replay_tells_the_end_again_under_the_same_id(records: Records) -> None:
    view = ended(records)
    first = taken(records)
    records.tell(first)
    reply = existing(records.run(webhook_deliveries.replay(records.settings, "anyone", view.id)))
    assert reply[0] == "queued"
    kept = [f"sl8:{view.id}{suffix}" for suffix in ("", ":hook", ":deliveries")]
    assert [records.client.ttl(key) for key in kept] == [-1, -1, -1], "however long its receiver is away"
    again = taken(records)
    assert (again.notice.id, again.notice.at_ms, again.tries) == (first.notice.id, first.notice.at_ms, 0)


def test_a_replay_of_what_waits_brings_it_forward(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 500, error="no", delay_s=500)
    records.run(webhook_deliveries.replay(records.settings, "anyone", view.id))
    assert taken(records).tries == 0
    records.run(webhook_deliveries.replay(records.settings, "anyone", view.id))
    assert records.next_delivery() is None, "a courier has it"


def test_an_answer_is_there_for_a_replay_though_its_other_jobs_were_deleted(records: Records) -> None:
    records.beat()
    first = records.answered("q")
    records.finish()
    joined = records.accept(records.placing("q"), webhook=HOOK, retain_s=60)
    records.tell(taken(records))
    records.run(webhook_deliveries.replay(records.settings, "anyone", joined.id))
    records.wait(61)
    records.purge(first.id)
    assert records.client.exists(f"sl8:{joined.run_id}")


def test_what_cannot_be_told_again_is_said(records: Records) -> None:
    def word(job: str, caller: str = "anyone") -> str | None:
        reply = records.run(webhook_deliveries.replay(records.settings, caller, job))
        return reply and reply[0]

    unended = submit(records)
    assert (word(unended.id), word(unended.id, "somebody"), word("job_0")) == ("unended", None, None)
    records.settle(records.claim())
    records.tell(taken(records))
    assert word(unended.id) == "queued"
    records.tell(taken(records))
    records.client.hdel(f"sl8:{unended.id}", "result")
    assert word(unended.id) == "expired"
    assert word(records.submit().id) == "unhooked"


def test_a_retry_of_what_is_deleted_meanwhile_is_not_taken_in_without_its_webhook(records: Records) -> None:
    first = ended(records)
    records.purge(first.id)
    placing = records.placing()
    assert records.post(placing, retry_of=first.id).word == "gone"
    assert records.try_view(placing.job) is None
    assert records.try_claim() is None


def test_calls_that_wait_for_couriers_are_counted(records: Records) -> None:
    def counts() -> tuple[int, int, int]:
        (line,) = records.run(workers.fleet(records.settings, [keys.HOOK]))
        return line.lane.queued, line.lane.retrying, line.lane.running

    for number in range(3):
        submit(
            records, str(number), Webhook(f"https://shop-{number}.example/", host=f"shop-{number}.example")
        )
        records.settle(records.claim())
    before = counts()
    records.tell(taken(records), 500, error="no", delay_s=60)
    taken(records)
    assert (before, counts()) == ((3, 0, 0), (1, 1, 1))


def test_the_log_of_calls_is_bounded(records: Records) -> None:
    view = ended(records)
    for _ in range(60):
        records.tell(taken(records), 500, error="no", delay_s=0)
    rows = records.client.lrange(f"sl8:{view.id}:deliveries", 0, -1)
    assert len(rows) == 50
    assert json.loads(rows[0]) == {
        "id": message_id(f"{view.id}:ended"),
        "event": "job.succeeded",
        "at_ms": records.now,
        "took_ms": 7,
        "status": 500,
        "error": "no",
        "attempt": 1,
    }


@pytest.mark.parametrize("ended", [False, True])
def test_a_receiver_that_is_gone_is_told_nothing_more_of_this_job(records: Records, ended: bool) -> None:
    view = submit(records, webhook=ALL)
    claim = records.claim()
    if ended:
        records.settle(claim)
    records.tell(taken(records), 410, error="gone")
    records.settle(claim)
    assert records.next_delivery() is None
    assert records.client.ttl(f"sl8:{view.id}") > 0
    assert not [key for key in records.key_names() if key.endswith((":began", ":own"))]


def test_a_receiver_that_is_gone_by_the_end_is_not_told_the_beginning_again(records: Records) -> None:
    view = submit(records, webhook=ALL)
    claim = records.claim()
    records.tell(taken(records), 500, error="no", delay_s=5)
    records.settle(claim)
    assert records.client.ttl(f"sl8:{view.id}") == -1
    records.tell(taken(records), 410, error="gone")
    assert records.client.ttl(f"sl8:{view.id}") > 0
    records.wait(6)
    assert records.next_delivery() is None
    assert not [key for key in records.key_names() if key.endswith((":began", ":own"))]


def test_who_joins_a_run_between_two_attempts_is_told_that_it_has_begun(records: Records) -> None:
    records.submit("q")
    records.give_back(records.claim())
    joined = submit(records, "q", ALL)
    begun = taken(records)
    assert (begun.notice.type, begun.notice.subject) == ("job.running", joined.id)


def test_a_job_that_is_told_again_is_there_until_its_webhook_was_called(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records))
    records.run(webhook_deliveries.replay(records.settings, "anyone", view.id))
    records.wait(records.settings.retention.job_s + 1)
    assert records.view(view.id).status == "succeeded"
    records.tell(taken(records))
    assert 0 < records.life(view.id) <= records.settings.retention.job_s


def test_the_secret_is_in_nothing_that_is_printed(records: Records) -> None:
    ended(records)
    assert SECRET not in repr(taken(records)) + repr(HOOK)
