"""The courier's calls of webhooks: what receivers get, and what their faults cost nobody else."""

import json
import logging
import threading
import time
from dataclasses import replace

import pytest

from api.dialects.native.jobs import to_job
from shared import ids
from shared.errors import Unavailable
from shared.store import webhook_deliveries
from shared.store.jobs import purge
from shared.store.webhook_deliveries import PER_HOST, DueDelivery
from shared.webhooks import EVENTS, Webhook
from tests.support.attempt_harness import CALLER, FAIL, Unsteady, Workbench
from tests.support.clients import PATIENCE_S, until
from tests.support.deliverer_harness import SECRET, Office
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from worker.webhooks import deliverer as posting
from worker.webhooks.deliverer import Deliverer


@pytest.fixture
def office(desk: Workbench, redis: RedisServer) -> Office:
    return Office(desk, redis)


def test_a_receiver_verifies_what_it_is_told_and_finds_the_job_as_the_service_does(
    office: Office,
) -> None:
    with receiver() as there:
        job = office.answered(Webhook(there.url), "What is this?")
        office.deliverer.deliver(office.next_delivery())
        (event,) = there.verified(SECRET.encode())
        (told,) = there.told
    seen = json.loads(json.dumps(to_job(office.desk.job(job))))
    assert event["type"] == "job.succeeded"
    assert event["timestamp"].startswith("20")
    assert event["data"] == {name: seen[name] for name in event["data"]}
    assert event["data"].keys() >= {"id", "status", "model", "metadata", "result", "ended_at"}
    assert told.path == "/told?by=us"
    assert told.headers["content-type"] == "application/json"
    assert told.headers["webhook-id"].startswith("msg_")
    assert SECRET not in told.body.decode() + json.dumps(told.headers)


def test_each_kind_of_end_is_told_as_it_was(office: Office) -> None:
    with receiver() as there:
        failed = office.ask(Webhook(there.url, EVENTS), FAIL)
        for _ in range(3):
            office.desk.attempt()
        cancelled = office.ask(Webhook(there.url, EVENTS))
        office.desk.cancel(cancelled)
        for _ in range(3):
            office.deliverer.deliver(office.next_delivery())
        events = there.verified(SECRET.encode())
    told = {(e["type"], e["data"]["id"]): e["data"] for e in events}
    assert told.keys() == {
        ("job.running", failed), ("job.failed", failed), ("job.cancelled", cancelled),
    }  # fmt: skip
    begun, ended = told["job.running", failed], told["job.failed", failed]
    assert (begun["status"], begun["ended_at"], "error" in begun) == ("running", None, False)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "attempts_exhausted")


def test_a_job_without_a_secret_is_signed_by_the_service_s_own(desk: Workbench, redis: RedisServer) -> None:
    own = "whsec_" + "c2VjcmV0IG9mIHRoZSBzZXJ2aWNlIGl0c2VsZg=="
    office = Office(desk, redis, secret=own)
    with receiver() as there:
        office.answered(Webhook(there.url))
        office.deliverer.deliver(replace(office.next_delivery(), secrets=()))
        assert there.verified(own)[0]["type"] == "job.succeeded"


def test_a_repeat_has_the_same_id_and_the_same_bytes(office: Office) -> None:
    with receiver((500, {}), (302, {"location": "http://127.0.0.1:1/"}), (204, {})) as there:
        job = office.answered(Webhook(there.url))
        with office.open():
            until(lambda: len(office.tries(job)) == 3)
        office.desk.store.client.delete(*office.desk.store.client.keys("sl5:run_*"))
        assert len({(t.headers["webhook-id"], t.body) for t in there.told}) == 1
    assert [(d.status, d.taken) for d in office.tries(job)] == [(500, False), (302, False), (204, True)]
    hook = office.desk.job(job).hook
    assert hook is not None
    assert hook.delivered_ms is not None


def test_what_is_never_taken_is_given_up_and_logged_without_the_url_s_secrets(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(*[(500, {})] * 4) as there, caplog.at_level(logging.ERROR):
        job = office.answered(Webhook(there.url))
        with office.open():
            until(lambda: len(office.tries(job)) == 4)
        assert len(there.told) == 4
    (record,) = (r for r in caplog.records if r.name == posting.log.name)
    assert job in record.getMessage()
    assert "4 calls" in record.getMessage()
    assert "by=us" not in caplog.text
    assert SECRET not in caplog.text
    assert office.desk.store.client.ttl(f"sl5:{job}") > 0


def test_a_receiver_that_is_gone_is_called_once(office: Office) -> None:
    with receiver((410, {})) as there:
        office.answered(Webhook(there.url))
        office.deliverer.deliver(office.next_delivery())
        assert (
            office.desk.store.run(
                webhook_deliveries.next_delivery(office.settings, ids.token(), posting.MAX_CALLS)
            )
            is None
        )
        assert len(there.told) == 1


@pytest.mark.parametrize(("said", "least_s"), [("700", 700), ("Wed, 01 Jan 2098 00:00:00 GMT", 86_400)])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(office: Office, said: str, least_s: int) -> None:
    with receiver((503, {"Retry-After": said})) as there:
        office.answered(Webhook(there.url))
        before = time.time()
        office.deliverer.deliver(office.next_delivery())
    assert (
        office.desk.store.run(
            webhook_deliveries.next_delivery(office.settings, ids.token(), posting.MAX_CALLS)
        )
        is None
    )
    ((_, due),) = office.desk.store.client.zrange("sl5:deliveries_later", 0, -1, withscores=True)
    assert due / 1000 >= before + least_s - 1


def test_calls_that_failed_together_do_not_come_back_together(desk: Workbench, redis: RedisServer) -> None:
    """A receiver that was away would meet all of them at once."""
    office, pause_s, calls = Office(desk, redis, delays_s=(10_000,)), 10_000, 6
    with receiver(*[(503, {})] * calls) as there:
        before = time.time()
        for _ in range(calls):
            office.answered(Webhook(there.url))
            office.deliverer.deliver(office.next_delivery())
        after = time.time()
    line = office.desk.store.client.zrange("sl5:deliveries_later", 0, -1, withscores=True)
    due = [score / 1000 for _, score in line]
    assert len(due) == calls
    assert before + pause_s - 1 <= min(due) <= max(due) <= after + pause_s * 1.1 + 1
    assert max(due) - min(due) > after - before + 1


def test_a_hanging_receiver_does_not_hold_up_the_others(office: Office) -> None:
    with receiver() as hanging, receiver() as well:
        hanging.open.clear()
        jobs = [office.answered(Webhook(hanging.url)) for _ in range(2 * posting.MAX_CALLS)]
        other = office.answered(Webhook(well.url))
        with office.open():
            until(lambda: office.tries(other))
            assert len(hanging.told) <= PER_HOST
            hanging.open.set()
            until(lambda: all(office.tries(job) for job in jobs))


def test_a_call_that_could_not_be_written_down_is_made_again_under_the_same_id(office: Office) -> None:
    with receiver() as there:
        office.answered(Webhook(there.url))
        taken = office.next_delivery()
        first = replace(taken, notice=replace(taken.notice, body="{}"))
        cut_off = Unsteady(office.desk.store, calls=1)
        with pytest.raises(Unavailable):
            Deliverer(office.settings, cut_off, office.desk.context.blobs).deliver(first)
        assert len(there.told) == 1
    call = webhook_deliveries.next_delivery(office.settings, ids.token(), posting.MAX_CALLS)
    later = office.desk.store.client.time()[0] * 1000 + 2000 * PATIENCE_S
    again = office.desk.store.run(replace(call, arguments={**call.arguments, "now": later}))
    assert isinstance(again, DueDelivery)
    assert again.notice.id == first.notice.id


def test_a_job_that_was_deleted_is_not_told(office: Office) -> None:
    with receiver() as there:
        job = office.answered(Webhook(there.url))
        taken = office.next_delivery()
        office.desk.store.run(purge(office.settings, CALLER, job))
        assert office.deliverer.deliver(taken) is None
        assert there.told == []


def test_a_call_that_cannot_be_made_is_counted_and_does_not_come_again_for_ever(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("nobody thought of it")

    monkeypatch.setattr(posting, "post", broken)
    job = office.answered(Webhook("http://127.0.0.1:9/"))
    office.deliverer.deliver(office.next_delivery())
    assert [(d.taken, d.error) for d in office.tries(job)] == [(False, "the call could not be made")]


def test_a_call_that_waits_for_its_host_is_made_as_soon_as_another_ends(office: Office) -> None:
    queue = office.settings.queue.model_copy(update={"rescue_s": 3600.0})
    office.deliverer = Deliverer(
        office.settings.model_copy(update={"queue": queue}), office.desk.store, office.desk.context.blobs
    )
    with receiver() as there:
        there.open.clear()
        jobs = [office.answered(Webhook(there.url)) for _ in range(PER_HOST + 1)]
        with office.open():
            until(lambda: len(there.told) == PER_HOST)
            there.open.set()
            until(lambda: all(office.tries(job) for job in jobs))


def test_a_call_for_which_there_is_no_thread_does_not_end_all_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may have only so many."""
    start, refused = threading.Thread.start, threading.Event()

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "webhook" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with receiver() as there:
        office.answered(Webhook(there.url))
        with office.open():
            assert refused.wait(30)
            later = office.answered(Webhook(there.url))
            until(lambda: office.tries(later))


def test_a_stopping_courier_finishes_its_calls(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "STOP_LIMIT_S", PATIENCE_S)
    with receiver() as there:
        there.open.clear()
        job = office.answered(Webhook(there.url))
        with office.open():
            until(lambda: there.told)
            threading.Timer(0.1, there.open.set).start()
        assert [d.taken for d in office.tries(job)] == [True]
