"""Webhooks in the store: nothing is told twice at once, nothing is lost, nothing stays behind."""

import json

from shared.store import webhooks
from shared.webhooks import Webhook, body_of
from tests.support.existing import existing
from tests.support.hooks import (
    ALL,
    HOOK,
    default_webhook,
    ended,
    submit,
    taken,
    told_to,
)
from tests.support.store import BROKEN, SETTINGS, START_MS, Records, answer

LEASE_S = 60
"""Longer than a courier may take for a call."""


def redelivered(records: Records, job: str, caller: str = "anyone") -> str | None:
    reply = records.run(webhooks.redeliver(records.settings, caller, job))
    return reply and reply[0]


def test_the_beginning_is_sent_to_those_who_asked_for_it(records: Records) -> None:
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


def test_the_job_says_when_its_webhook_is_tried_again(records: Records) -> None:
    view = ended(records)
    due = [next_try(records, view.id)]
    records.tell(taken(records), 500, error="no", delay_s=5)
    due.append(next_try(records, view.id))
    records.wait(5)
    records.tell(taken(records))
    assert [*due, next_try(records, view.id)] == [None, START_MS + 5000, None]


def next_try(records: Records, job: str) -> int | None:
    return existing(records.view(job).hook).next_ms


def test_a_taken_beginning_is_not_shown_as_a_delivered_end(records: Records) -> None:
    def delivered() -> int | None:
        return existing(records.view(view.id).hook).delivered_ms

    view = submit(records, webhook=ALL)
    claim = records.claim()
    records.tell(taken(records))
    assert delivered() is None
    records.settle(claim)
    records.tell(taken(records))
    assert delivered() == records.now


def test_retries_of_three_days_still_have_the_answer(records: Records) -> None:
    """The answer is stored for 100 s in these tests, and for the webhook until its last try is over."""
    view = ended(records)
    first = taken(records)
    records.tell(first, 500, error="no", delay_s=3 * 86_400)
    records.wait(3 * 86_400)
    assert body_of(taken(records).notice) == body_of(first.notice)
    assert 86_400 <= records.life(view.id) <= 2 * 86_400
    for suffix in (":hook", ":deliveries"):
        assert 0 < records.client.ttl(f"sl9:{view.id}{suffix}") <= SETTINGS.webhook.life_s


def test_a_redelivery_sends_the_end_under_the_same_id(records: Records) -> None:
    view = ended(records)
    first = taken(records)
    records.tell(first)
    assert redelivered(records, view.id) == "queued"
    again = taken(records)
    assert (again.notice.id, again.notice.at_ms, again.tries) == (first.notice.id, first.notice.at_ms, 0)


def test_a_retry_without_the_deleted_jobs_webhook_is_refused(records: Records) -> None:
    first = ended(records)
    records.purge(first.id)
    placing = records.placing()
    assert records.post(placing, retry_of=first.id).word == "gone"
    assert records.try_view(placing.job) is None
    assert records.try_claim() is None


def test_the_calls_that_wait_are_counted(records: Records) -> None:
    for _ in range(3):
        ended(records)
    before = records.run(webhooks.counts())
    records.tell(taken(records), 500, error="no", delay_s=60)
    taken(records)
    assert (before, records.run(webhooks.counts())) == ((3, 0, 0), (1, 1, 1))


def test_the_deliveries_of_a_job_are_bounded(records: Records) -> None:
    view = ended(records)
    for _ in range(60):
        records.tell(taken(records), 500, error="no", delay_s=0)
    rows = records.client.lrange(f"sl9:{view.id}:deliveries", 0, -1)
    assert len(rows) == 50
    assert json.loads(rows[-1]) == {
        "event": "job.succeeded",
        "at_ms": records.now,
        "took_ms": 7,
        "status": 500,
        "error": "no",
        "attempt": 60,
    }


def test_an_error_is_sent_under_the_callers_own_name(records: Records) -> None:
    records.post(records.placing(), webhook=HOOK, paths={"images[0]": "messages[2].content"})
    records.settle(records.claim(), BROKEN)
    body = json.loads(body_of(taken(records).notice))
    assert body["data"]["error"]["param"] == "messages[2].content"


def test_logprobs_are_left_out(records: Records) -> None:
    told = answer().choices[0].model_copy(update={"logprobs": ()})
    submit(records)
    records.settle(records.claim(), answer().model_copy(update={"choices": (told,)}))
    assert "logprobs" not in body_of(taken(records).notice)


# A key's default webhook.


def test_a_waiting_call_goes_to_the_keys_new_address(records: Records) -> None:
    key = default_webhook(records)
    ended(records, key)
    records.tell(taken(records), 500, error="no", delay_s=5)
    default_webhook(records, url="https://moved.example/", key=key)
    records.wait(5)
    assert taken(records).url == "https://moved.example/"
    assert records.client.zcard("sl9:calling:moved.example") == 1


# Hosts.


def at(host: str) -> Webhook:
    return Webhook(f"https://{host}/", host=host, secret=HOOK.secret)


def test_hosts_take_turns_however_many_calls_wait(records: Records) -> None:
    for _ in range(4):
        ended(records, at("busy.example"))
    ended(records, at("rare.example"))
    records.wait(1)
    assert {taken(records).url for _ in range(2)} == {"https://busy.example/", "https://rare.example/"}


def test_a_webhook_that_cannot_be_read_stops_no_other(records: Records) -> None:
    broken, view = ended(records), ended(records)
    records.client.set(f"sl9:{broken.id}:hook", "no hash")
    assert [subject for _, _, subject in told_to(records)] == [view.id]
    assert records.client.hexists("sl9:bad", f"{broken.id}:hook")


def test_host_gets_its_share_of_calls_at_once(records: Records) -> None:
    most = records.settings.webhook.host_calls
    for _ in range(most + 2):
        ended(records, at("hangs.example"))
    under_way = list(iter(records.next_delivery, None))
    assert len(under_way) == most
    ended(records, at("well.example"))
    assert taken(records).url == "https://well.example/"
    records.tell(under_way[0])
    assert taken(records).url == "https://hangs.example/"
    records.wait(LEASE_S)
    assert len(list(iter(records.next_delivery, None))) == most + 1, "no courier has them any more"


def test_receiver_that_was_gone_is_called_on_request(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 410, error="gone")
    assert redelivered(records, view.id) == "queued"
    records.tell(taken(records), 500, error="no", delay_s=1)
    records.wait(1)
    assert taken(records).tries == 1


def test_webhook_of_an_expired_key_is_not_called(records: Records) -> None:
    key = default_webhook(records)
    ended(records, key)
    records.client.hset(f"sl9:{key}", "expires_ms", records.now)
    assert records.next_delivery() is None
