"""The log of events: all that was told, or would have been, in order and for as long as was said."""

import json

import pytest

from shared.job import JobView
from shared.settings import RetentionSettings
from shared.store import webhook_deliveries, webhook_events
from shared.store.webhook_events import key_of, message_id
from shared.webhooks import body_of
from tests.support.existing import existing
from tests.support.hooks import HOOK, endpoint, log, submit, taken, told_to
from tests.support.store import BROKEN, Records, answer

EVENT_S = 500


def short(records: Records, **kept: int) -> None:
    said = {"result_s": 100, "job_s": 1000, "event_s": EVENT_S, **kept}
    records.settings = records.settings.model_copy(update={"retention": RetentionSettings(**said)})


def finished(records: Records, **terms: object) -> JobView:
    view = records.accept(records.placing(), **terms)
    records.settle(records.claim())
    return view


def page(records: Records, after: str | None = None, limit: int = 10) -> webhook_events.NoticePage:
    return existing(records.run(webhook_events.page("anyone", after=after, types=(), limit=limit)))


def test_every_end_is_logged_in_order_without_any_webhook(records: Records) -> None:
    finished(records)
    records.answered(outcome=BROKEN)
    records.cancel(records.submit().id)
    assert log(records) == ["job.succeeded", "job.failed", "job.cancelled"]
    assert log(records, "job.failed", "batch.*") == ["job.failed"]
    assert log(records, "job.*") == log(records)
    assert log(records, caller="other") == []


def test_ends_of_the_same_moment_have_an_order(records: Records) -> None:
    jobs = [finished(records).id for _ in range(5)]
    whole = [notice.subject for notice in page(records).notices]
    assert whole == jobs
    third = f"{jobs[2]}:ended"
    assert [notice.subject for notice in page(records, after=third).notices] == jobs[3:]


def test_a_clock_that_was_set_back_loses_no_reader_an_event(records: Records) -> None:
    first = finished(records).id
    records.now -= 60_000
    second = finished(records).id
    assert [notice.subject for notice in page(records, after=f"{first}:ended").notices] == [second]


def test_an_event_is_read_from_its_job_and_holds_no_copy_of_the_answer(records: Records) -> None:
    view = finished(records)
    (event,) = page(records).notices
    assert event.job is not None
    assert (event.job.result, event.job.started_ms) == (answer(), records.now)
    assert not records.client.exists(f"sl8:{view.id}:ended")


def test_an_event_is_the_same_before_and_after_its_calls(records: Records) -> None:
    submit(records)
    records.settle(records.claim())
    (before,) = page(records).notices
    records.tell(taken(records))
    assert page(records).notices == (before,)


def test_readers_go_on_after_events_whose_records_are_gone(records: Records) -> None:
    jobs = [finished(records) for _ in range(3)]
    records.client.delete(f"sl8:{jobs[0].id}", f"sl8:{jobs[1].run_id}")
    assert [notice.subject for notice in page(records, limit=1).notices] == [jobs[2].id]
    assert [notice.subject for notice in page(records, after=f"{jobs[0].id}:ended").notices] == [jobs[2].id]


def test_an_error_is_told_under_the_caller_s_own_name(records: Records) -> None:
    records.post(records.placing(), paths={"images[0]": "messages[2].content"})
    records.settle(records.claim(), BROKEN)
    body = json.loads(body_of(page(records).notices[0]))
    assert body["data"]["error"]["param"] == "messages[2].content"


def test_what_is_quiet_is_in_no_log(records: Records) -> None:
    view = finished(records, quiet=True)
    assert log(records) == []
    assert not records.client.exists(f"sl8:{view.id}:ended")


def test_events_are_forgotten_in_time(records: Records) -> None:
    short(records)
    first = finished(records)
    assert 0 < records.client.ttl("sl8:notices:anyone") <= EVENT_S + 1
    records.wait(EVENT_S + 1)
    second = finished(records)
    assert [notice.subject for notice in page(records).notices] == [second.id]
    call = webhook_events.page("anyone", after=f"{first.id}:ended", types=(), limit=1)
    assert records.run(call) is None, "who was away for longer is told so"


def test_the_log_outlives_its_events_where_more_end_than_it_has_moments(records: Records) -> None:
    """Their places run ahead of the clock then, and the log lives on for all that may come up to there."""
    short(records)
    finished(records)
    records.client.zadd("sl8:notices:anyone", {"job_0:ended": records.now + 599_999})
    finished(records)
    assert records.client.ttl("sl8:notices:anyone") > EVENT_S + 500


@pytest.mark.parametrize("again", [False, True])
def test_a_copy_of_an_answer_lives_no_longer_than_its_calls(records: Records, again: bool) -> None:
    view = submit(records, retain_s=50)
    records.settle(records.claim())
    if again:
        told_to(records)
        records.run(webhook_deliveries.replay(records.settings, "anyone", view.id))
    assert records.client.ttl(f"sl8:{view.id}:ended") == -1
    told_to(records)
    assert not records.client.exists(f"sl8:{view.id}:ended")


def test_of_too_many_events_the_oldest_go(records: Records) -> None:
    short(records, max_events=3)
    jobs = []
    for _ in range(5):
        records.wait(1)
        jobs.append(finished(records).id)
    assert [notice.subject for notice in page(records).notices] == jobs[2:]


def test_what_is_still_to_be_told_outlives_the_log(records: Records) -> None:
    short(records, max_events=1)
    first = submit(records)
    records.settle(records.claim())
    records.tell(taken(records), 500, error="no", delay_s=2 * EVENT_S)
    finished(records)
    assert records.client.ttl(f"sl8:{first.id}:ended") == -1
    records.wait(2 * EVENT_S)
    assert told_to(records) == [(HOOK.url, "job.succeeded", first.id)]
    assert not records.client.exists(f"sl8:{first.id}:ended")


def test_a_deleted_job_is_gone_from_the_log_and_readers_go_on(records: Records) -> None:
    jobs = [finished(records).id for _ in range(3)]
    records.purge(jobs[1])
    assert [notice.subject for notice in page(records).notices] == [jobs[0], jobs[2]]
    assert [notice.subject for notice in page(records, after=f"{jobs[1]}:ended").notices] == [jobs[2]]


def test_a_deleted_job_is_gone_from_the_log_though_others_follow_it(records: Records) -> None:
    first, second = records.submit("q"), records.submit("q")
    records.purge(first.id)
    records.settle(records.claim())
    assert [notice.subject for notice in page(records).notices] == [second.id]


def test_a_long_stretch_of_other_types_is_read_through(records: Records) -> None:
    for number in range(1100):
        records.client.zadd("sl8:notices:anyone", {f"job_{number}:ended": records.now - 2000 + number})
    finished(records)
    assert log(records, "job.succeeded") == ["job.succeeded"]


def test_logprobs_are_left_out(records: Records) -> None:
    told = answer().choices[0].model_copy(update={"logprobs": ()})
    endpoint(records, "job.succeeded")
    records.submit()
    records.settle(records.claim(), answer().model_copy(update={"choices": (told,)}))
    delivery = taken(records)
    assert delivery.notice.job is not None
    assert delivery.notice.job.result == answer()


def test_an_id_and_a_key_name_the_same_notice() -> None:
    for key in ("job_0ab1:ended", "job_0ab1:began", "batch_0ab1:ended", "test_0ab1:sent"):
        assert key_of(message_id(key)) == key
    for typed in ("", "msg_", "msg__", "job_0ab1:ended", "msg_xyz_ended", "msg_0ab1_ended\n", "msg_0ab1_:"):
        assert key_of(typed) is None
