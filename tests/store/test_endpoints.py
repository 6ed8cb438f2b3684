"""Endpoints in the store: told of all that they want to know, of nothing else, and of nobody else's."""

from shared.store import webhook_endpoints
from shared.store.maintenance import expire
from shared.store.webhook_events import key_of
from shared.webhooks import MOST, Endpoint, EndpointUpdate
from tests.support.existing import existing
from tests.support.hooks import HOOK, SECRET, endpoint, submit, taken, told_to
from tests.support.store import BROKEN, Records

URL = "https://all.example/"


def listed(records: Records, caller: str = "anyone") -> list[Endpoint]:
    return records.run(webhook_endpoints.endpoints(caller))


def change(records: Records, id: str, to: EndpointUpdate, caller: str = "anyone") -> Endpoint | None:
    return records.run(webhook_endpoints.change(caller, id, to))


def finished(records: Records, caller: str = "anyone", **terms: object) -> str:
    view = records.accept(records.placing(caller=caller), **terms)
    records.settle(records.claim())
    return view.id


def test_a_job_without_a_webhook_is_told_to_all_of_its_caller_s_that_want_to_know(records: Records) -> None:
    endpoint(records, "job.failed", url="https://one.example/")
    endpoint(records, "job.*", url="https://two.example/")
    endpoint(records, "batch.*", url="https://three.example/")
    endpoint(records, url="https://foreign.example/", caller="other")
    job = finished(records)
    assert told_to(records) == [
        ("https://two.example/", "job.running", job),
        ("https://two.example/", "job.succeeded", job),
    ]
    failed = records.answered(outcome=BROKEN)
    assert ("https://one.example/", "job.failed", failed.id) in told_to(records)


def test_others_reach_the_store_while_the_ends_of_many_late_jobs_go_to_many_endpoints(
    records: Records,
) -> None:
    """The calls count, and not the jobs alone: two jobs with sixteen calls each are a piece."""
    for _ in range(MOST):
        endpoint(records, "job.failed")
    late = [records.post(records.placing(), finish_by_ms=records.now + 1000).view for _ in range(12)]
    records.wait(1)
    ended, passed = records.run(expire(records.settings))
    assert (len(ended), passed) == (2, 12)
    assert len(records.expire()) == 10
    assert {records.view(job.id).status for job in late if job} == {"failed"}


def test_what_is_quiet_is_told_to_its_own_webhook_only(records: Records) -> None:
    endpoint(records)
    job = finished(records, quiet=True, webhook=HOOK)
    assert told_to(records) == [(HOOK.url, "job.succeeded", job)]


def test_what_another_caller_owns_is_neither_seen_nor_changed(records: Records) -> None:
    id = endpoint(records)
    finished(records)
    before = records.dump()
    assert listed(records, "other") == []
    assert change(records, id, EndpointUpdate(enabled=False), "other") is None
    assert records.run(webhook_endpoints.rotate("other", id, "x", 1)) is None
    assert records.run(webhook_endpoints.delete("other", id)) is None
    assert records.run(webhook_endpoints.tries("other", id)) is None
    unknown = ("unknown", None)
    assert records.run(webhook_endpoints.send_test(records.settings, "other", id, "t", "{}")) == unknown
    assert records.run(webhook_endpoints.replay(records.settings, "other", id, "job_1:ended")) == unknown
    assert records.dump() == before


def test_an_id_that_names_another_key_of_ours_is_no_endpoint(records: Records) -> None:
    job = records.submit()
    assert records.run(webhook_endpoints.delete("anyone", job.id)) is None
    assert change(records, job.id, EndpointUpdate(description="mine")) is None
    assert records.view(job.id) == job


def test_an_endpoint_that_is_off_is_told_nothing_until_it_is_on_again(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    waits = finished(records)
    off = existing(change(records, id, EndpointUpdate(enabled=False)))
    assert (off.disabled, off.disabled_ms) == ("caller", records.now)
    finished(records)
    assert told_to(records) == []
    on = existing(change(records, id, EndpointUpdate(enabled=True)))
    assert on.disabled is None
    again = finished(records)
    assert told_to(records) == [(URL, "job.succeeded", again)]
    assert waits != again


def test_an_endpoint_that_is_gone_is_called_no_more(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    for _ in range(2):
        finished(records)
    records.tell(taken(records), 410, error="gone")
    assert records.next_delivery() is None
    (seen,) = listed(records)
    assert (seen.id, seen.disabled, seen.disabled_ms) == (id, "gone", records.now)


def test_a_change_of_the_url_is_for_what_waits_already_as_well(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    job = finished(records)
    change(records, id, EndpointUpdate(url="https://moved.example/", host="moved.example"))
    assert told_to(records) == [("https://moved.example/", "job.succeeded", job)]


def test_a_former_url_that_is_gone_by_now_turns_no_endpoint_off(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    job = finished(records)
    under_way = taken(records)
    change(records, id, EndpointUpdate(url="https://moved.example/", host="moved.example"))
    assert records.tell(under_way, 410, error="gone") == "moved"
    assert [seen.disabled for seen in listed(records)] == [None]
    assert told_to(records) == [("https://moved.example/", "job.succeeded", job)]


def test_a_deleted_endpoint_is_told_nothing_and_leaves_nothing(records: Records) -> None:
    id = endpoint(records)
    finished(records)
    records.run(webhook_endpoints.delete("anyone", id))
    assert told_to(records) == []
    assert not [key for key in records.key_names() if "wh_" in key or "deliveries" in key]
    assert not [key for key in records.key_names() if key.endswith(":began")]


def test_after_a_rotation_both_secrets_sign_for_as_long_as_was_said(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    rotated = existing(records.run(webhook_endpoints.rotate("anyone", id, "new", 60)))
    assert rotated.former_until_ms == records.now + 60_000
    for _ in range(3):
        finished(records)
    secrets = []
    for passed_s in (0, 59, 1):
        records.wait(passed_s)
        secrets.append((delivery := taken(records)).secrets)
        records.tell(delivery)
    assert secrets == [("new", SECRET), ("new", SECRET), ("new",)]
    assert listed(records)[0].former_until_ms is None


def test_a_leaked_secret_ends_at_once_where_no_grace_is_given(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    for secret, grace_s in (("second", 600), ("third", 0)):
        records.run(webhook_endpoints.rotate("anyone", id, secret, grace_s))
    finished(records)
    assert taken(records).secrets == ("third",)


def test_only_so_many_former_secrets_sign(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    for number in range(9):
        records.wait(1)
        records.run(webhook_endpoints.rotate("anyone", id, f"secret {number}", 600))
    finished(records)
    assert sorted(taken(records).secrets) == [f"secret {number}" for number in (4, 5, 6, 7, 8)]


def test_the_log_of_an_endpoint_says_how_each_call_went(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    job = finished(records)
    records.tell(taken(records), 500, error="no", delay_s=1)
    records.wait(1)
    records.tell(taken(records))
    tries = existing(records.run(webhook_endpoints.tries("anyone", id)))
    event = f"msg_{job.removeprefix('job_')}_ended"
    assert [(t.event_id, t.delivery.status, t.delivery.taken) for t in tries] == [
        (event, 200, True),
        (event, 500, False),
    ]


def test_the_log_of_an_endpoint_is_bounded(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    finished(records)
    for number in range(210):
        records.tell(taken(records), 500 + number, error="no", delay_s=0)
    tries = existing(records.run(webhook_endpoints.tries("anyone", id)))
    assert [tries[0].delivery.status, tries[-1].delivery.status, len(tries)] == [709, 510, 200]


def test_a_test_is_sent_to_this_endpoint_alone_and_also_where_it_is_off(records: Records) -> None:
    id = endpoint(records)
    endpoint(records, url="https://second.example/")
    change(records, id, EndpointUpdate(enabled=False))
    _, sent = records.run(webhook_endpoints.send_test(records.settings, "anyone", id, "test_1", '{"a":1}'))
    assert sent is not None
    assert (sent.type, sent.data, sent.id) == ("webhook.test", '{"a":1}', "msg_test_1_sent")
    assert told_to(records) == [(URL, "webhook.test", "test_1")]
    assert not [key for key in records.key_names() if "test_" in key], "it is forgotten"
    tries = existing(records.run(webhook_endpoints.tries("anyone", id)))
    assert [t.event_id for t in tries] == ["msg_test_1_sent"]


def test_an_event_from_before_an_endpoint_can_be_sent_to_it(records: Records) -> None:
    job = finished(records)
    id = endpoint(records, "job.failed")
    key = existing(key_of(f"msg_{job.removeprefix('job_')}_ended"))
    assert records.run(webhook_endpoints.replay(records.settings, "anyone", id, key))[0] == "queued"
    assert told_to(records) == [(URL, "job.succeeded", job)]


def test_what_is_no_longer_kept_or_another_s_cannot_be_sent_again(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    foreign = finished(records, caller="other")
    for key in (f"{foreign}:ended", "job_0:ended"):
        assert records.run(webhook_endpoints.replay(records.settings, "anyone", id, key)) == ("expired", None)


def test_an_endpoint_is_not_told_of_what_ended_before_it_was_made(records: Records) -> None:
    endpoint(records, "job.succeeded")
    job = submit(records, webhook=HOOK)
    records.settle(records.claim())
    endpoint(records, "job.succeeded", url="https://late.example/")
    assert sorted(told_to(records)) == sorted(
        [(URL, "job.succeeded", job.id), (HOOK.url, "job.succeeded", job.id)]
    )


def test_an_endpoint_is_told_of_all_that_begins_after_it_was_made(records: Records) -> None:
    jobs = [records.submit("q").id for _ in range(2)]
    endpoint(records, "job.running")
    records.claim()
    assert sorted(told_to(records)) == sorted((URL, "job.running", job) for job in jobs)


def test_an_endpoint_that_its_caller_turned_off_is_not_said_to_be_gone(records: Records) -> None:
    id = endpoint(records, "job.succeeded")
    finished(records)
    under_way = taken(records)
    change(records, id, EndpointUpdate(enabled=False))
    records.tell(under_way, 410, error="gone")
    (seen,) = listed(records)
    assert seen.disabled == "caller"
