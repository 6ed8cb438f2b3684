"""Webhooks in the store: nothing is told twice at once, nothing is lost, nothing stays behind."""

import json
from dataclasses import replace

import pytest

from shared.store import api_keys, webhooks
from shared.webhooks import Webhook, body_of
from tests.support.existing import existing
from tests.support.hooks import (
    ALL,
    HOOK,
    SECRET,
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


def redelivered_since(records: Records, since_ms: int, caller: str = "anyone") -> int:
    return records.run(webhooks.redeliver_failed(records.settings, caller, since_ms))[0]


def keys_of_calls(records: Records) -> list[str]:
    return [key for key in records.key_names() if key.startswith(("sl9:call", "sl9:failed"))]


def test_each_job_of_a_shared_run_has_its_own_call(records: Records) -> None:
    jobs = {submit(records, "q").id for _ in range(3)}
    records.answered("q")
    assert sorted(subject for _, _, subject in told_to(records)) == sorted(jobs)


def test_an_event_that_was_not_asked_for_is_not_sent(records: Records) -> None:
    ended(records, Webhook(HOOK.url, ("job.failed",), host="example.com"))
    assert records.next_delivery() is None


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


def test_a_killed_couriers_call_is_made_by_another_one(records: Records) -> None:
    ended(records)
    first = taken(records)
    assert records.next_delivery() is None
    records.wait(LEASE_S)
    second = taken(records)
    assert (body_of(second.notice), second) == (body_of(first.notice), replace(first, token=second.token))
    assert records.tell(first) == "lost"
    assert records.tell(second) == "settled"
    assert records.tell(second) == "lost"
    assert records.next_delivery() is None


def test_a_call_that_is_cut_off_is_made_again_at_once(records: Records) -> None:
    view = ended(records)
    records.run(webhooks.report(records.settings, taken(records), None))
    assert taken(records).tries == 0
    assert existing(records.view(view.id).hook).deliveries == ()


def test_a_failed_call_comes_again_when_its_pause_is_over(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 500, error="no", delay_s=5)
    records.wait(4.9)
    assert records.next_delivery() is None
    records.wait(0.1)
    again = taken(records)
    assert (again.tries, again.notice.subject) == (1, view.id)


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


def test_a_deleted_jobs_webhook_is_not_called(records: Records) -> None:
    jobs = [submit(records, webhook=ALL), submit(records, webhook=ALL), submit(records, webhook=HOOK)]
    for job in jobs:
        records.settle(records.claim())
        if job is jobs[-1]:
            records.tell(taken(records), 500, error="no", delay_s=5)
        records.purge(job.id)
    assert records.next_delivery() is None
    assert not [key for key in records.key_names() if "job_" in key and "purged" not in key]
    assert keys_of_calls(records) == []


def test_a_call_in_flight_of_a_deleted_job_writes_nothing(records: Records) -> None:
    view = ended(records)
    call = taken(records)
    records.purge(view.id)
    assert records.tell(call) == "lost"
    assert not [key for key in records.key_names() if "job_" in key and "purged" not in key]
    assert records.next_delivery() is None


def test_a_redelivery_sends_the_end_under_the_same_id(records: Records) -> None:
    view = ended(records)
    first = taken(records)
    records.tell(first)
    assert redelivered(records, view.id) == "queued"
    again = taken(records)
    assert (again.notice.id, again.notice.at_ms, again.tries) == (first.notice.id, first.notice.at_ms, 0)


def test_a_redelivery_brings_a_waiting_call_forward(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 500, error="no", delay_s=500)
    redelivered(records, view.id)
    assert taken(records).tries == 0
    redelivered(records, view.id)
    assert records.next_delivery() is None, "a courier has it"


def test_a_receiver_that_was_gone_is_called_on_request(records: Records) -> None:
    view = ended(records)
    records.tell(taken(records), 410, error="gone")
    redelivered(records, view.id)
    records.tell(taken(records), 500, error="no", delay_s=1)
    records.wait(1)
    assert taken(records).tries == 1


def test_why_a_job_cannot_be_redelivered_is_said(records: Records) -> None:
    unended = submit(records)
    others = redelivered(records, unended.id, "somebody"), redelivered(records, "job_0")
    assert (redelivered(records, unended.id), *others) == ("unended", None, None)
    records.settle(records.claim())
    records.tell(taken(records))
    assert redelivered(records, unended.id) == "queued"
    records.tell(taken(records))
    records.client.hdel(f"sl9:{unended.id}", "result")
    assert redelivered(records, unended.id) == "expired"
    assert redelivered(records, records.submit().id) == "unhooked"


def test_all_that_failed_since_a_time_is_sent_again(records: Records) -> None:
    def failed(delay_s: float | None) -> str:
        view = ended(records)
        records.tell(taken(records), 500, error="no", delay_s=delay_s)
        return view.id

    failed(None)
    records.wait(10)
    since_ms = records.now
    waits, given_up, deleted = failed(3600), failed(None), failed(None)
    ended(records)
    records.tell(taken(records))
    records.purge(deleted)
    assert redelivered_since(records, since_ms, "somebody") == 0
    assert redelivered_since(records, since_ms) == 2
    assert sorted(subject for _, _, subject in told_to(records)) == sorted([waits, given_up])
    assert redelivered_since(records, since_ms) == 0
    assert redelivered_since(records, 0) == 1


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


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_receiver_that_is_gone_gets_no_more_of_the_job(records: Records, has_ended: bool) -> None:
    submit(records, webhook=ALL)
    claim = records.claim()
    if has_ended:
        records.settle(claim)
    records.tell(taken(records), 410, error="gone")
    records.settle(claim)
    assert records.next_delivery() is None
    assert [key for key in keys_of_calls(records) if key != "sl9:failed:anyone"] == []


def test_a_job_that_joins_a_begun_run_is_said_to_have_begun(records: Records) -> None:
    records.submit("q")
    records.give_back(records.claim())
    joined = submit(records, "q", ALL)
    begun = taken(records)
    assert (begun.notice.type, begun.notice.subject) == ("job.running", joined.id)


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


def test_the_secret_is_in_nothing_that_is_printed(records: Records) -> None:
    ended(records)
    assert SECRET not in repr(taken(records)) + repr(HOOK)


# A key's default webhook.


def test_a_default_webhook_gets_the_events_of_its_filter(records: Records) -> None:
    key = default_webhook(records, "job.failed")
    ended(records, key)
    assert records.next_delivery() is None
    view = submit(records, webhook=key)
    records.settle(records.claim(), BROKEN)
    call = taken(records)
    assert (call.url, call.notice.subject, call.secrets) == ("https://all.example/", view.id, (SECRET,))
    hook = existing(records.view(view.id).hook)
    assert (hook.url, hook.events) == ("https://all.example/", ("job.failed",))


def test_a_waiting_call_goes_to_the_keys_new_address(records: Records) -> None:
    key = default_webhook(records)
    ended(records, key)
    records.tell(taken(records), 500, error="no", delay_s=5)
    default_webhook(records, url="https://moved.example/", key=key)
    records.wait(5)
    assert taken(records).url == "https://moved.example/"
    assert records.client.zcard("sl9:calling:moved.example") == 1


def test_both_secrets_sign_until_a_day_after_a_rotation(records: Records) -> None:
    key = default_webhook(records)
    own = Webhook(HOOK.url, host="example.com", key=key)
    records.run(api_keys.rotate_webhook(key, "whsec_new", 86_400))
    ended(records, key)
    ended(records, own)
    assert [set(taken(records).secrets) for _ in range(2)] == [{SECRET, "whsec_new"}] * 2
    records.wait(86_400)
    ended(records, key)
    assert {call.secrets for call in iter(records.next_delivery, None)} == {("whsec_new",)}


@pytest.mark.parametrize("end", [api_keys.revoke, api_keys.delete_webhook])
def test_a_revoked_keys_default_webhook_is_not_called(records: Records, end: object) -> None:
    key = default_webhook(records)
    own = Webhook(HOOK.url, host="example.com", key=key)
    ended(records, key)
    ended(records, own)
    records.tell(taken(records), 500, error="no", delay_s=5)
    records.run(end(key))  # type: ignore[operator]
    records.wait(5)
    assert records.next_delivery() is None
    ended(records, key)
    assert records.next_delivery() is None
    assert redelivered_since(records, 0) == 0


# Hosts.


def at(host: str) -> Webhook:
    return Webhook(f"https://{host}/", host=host, secret=HOOK.secret)


def test_a_host_gets_so_many_calls_at_once_and_no_more(records: Records) -> None:
    most = records.settings.webhook.host_calls
    for _ in range(most + 2):
        ended(records, at("hangs.example"))
    under_way = list(iter(records.next_delivery, None))
    assert len(under_way) == most
    ended(records, at("well.example"))
    assert taken(records).url == "https://well.example/"
    records.tell(under_way[0])
    assert taken(records).url == "https://hangs.example/"
    assert records.next_delivery() is None
    records.wait(LEASE_S)
    assert len(list(iter(records.next_delivery, None))) == most + 1, "no courier has them any more"


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
