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
from shared.store.webhook_deliveries import PER_HOST, DueDelivery
from shared.webhooks import EVENTS, Webhook
from tests.support.attempt_harness import FAIL, LossyStore, WorkerHarness
from tests.support.clients import PATIENCE_S, until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from worker.webhooks import deliverer as posting
from worker.webhooks.deliverer import Deliverer


@pytest.fixture
def webhooks(harness: WorkerHarness, redis: RedisServer) -> DelivererHarness:
    return DelivererHarness(harness, redis)


def test_a_receiver_verifies_what_it_is_told_and_finds_the_job_as_the_service_does(
    webhooks: DelivererHarness,
) -> None:
    with receiver() as there:
        job = webhooks.answered(Webhook(there.url), "What is this?")
        webhooks.deliverer.deliver(webhooks.next_delivery())
        (event,) = there.verified(SECRET.encode())
        (call,) = there.calls
    seen = json.loads(json.dumps(to_job(webhooks.harness.job(job))))
    assert event["type"] == "job.succeeded"
    assert event["timestamp"].startswith("20")
    assert event["data"] == {name: seen[name] for name in event["data"]}
    assert event["data"].keys() >= {"id", "status", "model", "metadata", "result", "ended_at"}
    assert call.path == "/told?by=us"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["webhook-id"].startswith("msg_")
    assert SECRET not in call.body.decode() + json.dumps(call.headers)


def test_each_kind_of_end_is_told_as_it_was(webhooks: DelivererHarness) -> None:
    with receiver() as there:
        failed = webhooks.ask(Webhook(there.url, EVENTS), FAIL)
        for _ in range(3):
            webhooks.harness.attempt()
        cancelled = webhooks.ask(Webhook(there.url, EVENTS))
        webhooks.harness.cancel(cancelled)
        for _ in range(3):
            webhooks.deliverer.deliver(webhooks.next_delivery())
        events = there.verified(SECRET.encode())
    told = {(e["type"], e["data"]["id"]): e["data"] for e in events}
    assert told.keys() == {
        ("job.running", failed), ("job.failed", failed), ("job.cancelled", cancelled),
    }  # fmt: skip
    begun, ended = told["job.running", failed], told["job.failed", failed]
    assert (begun["status"], begun["ended_at"], "error" in begun) == ("running", None, False)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "attempts_exhausted")


def test_a_job_without_a_secret_is_signed_by_the_service_s_own(
    harness: WorkerHarness, redis: RedisServer
) -> None:
    own = "whsec_" + "c2VjcmV0IG9mIHRoZSBzZXJ2aWNlIGl0c2VsZg=="
    webhooks = DelivererHarness(harness, redis, secret=own)
    with receiver() as there:
        webhooks.answered(Webhook(there.url))
        webhooks.deliverer.deliver(replace(webhooks.next_delivery(), secrets=()))
        assert there.verified(own)[0]["type"] == "job.succeeded"


def test_a_repeat_has_the_same_id_and_the_same_bytes(webhooks: DelivererHarness) -> None:
    with receiver((500, {}), (302, {"location": "http://127.0.0.1:1/"}), (204, {})) as there:
        job = webhooks.answered(Webhook(there.url))
        with webhooks.open():
            until(lambda: len(webhooks.tries(job)) == 3)
        webhooks.harness.store.client.delete(*webhooks.harness.store.client.keys("sl7:run_*"))
        assert len({(t.headers["webhook-id"], t.body) for t in there.calls}) == 1
    assert [(d.status, d.taken) for d in webhooks.tries(job)] == [(500, False), (302, False), (204, True)]
    hook = webhooks.harness.job(job).hook
    assert hook is not None
    assert hook.delivered_ms is not None


def test_what_is_never_taken_is_given_up_and_logged_without_the_url_s_secrets(
    webhooks: DelivererHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(*[(500, {})] * 4) as there, caplog.at_level(logging.ERROR):
        job = webhooks.answered(Webhook(there.url))
        with webhooks.open():
            until(lambda: len(webhooks.tries(job)) == 4)
        assert len(there.calls) == 4
    (record,) = (r for r in caplog.records if r.name == posting.log.name)
    assert job in record.getMessage()
    assert "4 calls" in record.getMessage()
    assert "by=us" not in caplog.text
    assert SECRET not in caplog.text
    assert webhooks.harness.store.client.ttl(f"sl7:{job}") > 0


def test_a_receiver_that_is_gone_is_called_once(webhooks: DelivererHarness) -> None:
    with receiver((410, {})) as there:
        webhooks.answered(Webhook(there.url))
        webhooks.deliverer.deliver(webhooks.next_delivery())
        assert (
            webhooks.harness.store.run(
                webhook_deliveries.next_delivery(webhooks.settings, ids.token(), posting.MAX_CALLS)
            )
            is None
        )
        assert len(there.calls) == 1


@pytest.mark.parametrize(("said", "least_s"), [("700", 700), ("Wed, 01 Jan 2098 00:00:00 GMT", 86_400)])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    webhooks: DelivererHarness, said: str, least_s: int
) -> None:
    with receiver((503, {"Retry-After": said})) as there:
        webhooks.answered(Webhook(there.url))
        before = time.time()
        webhooks.deliverer.deliver(webhooks.next_delivery())
    assert (
        webhooks.harness.store.run(
            webhook_deliveries.next_delivery(webhooks.settings, ids.token(), posting.MAX_CALLS)
        )
        is None
    )
    ((_, due),) = webhooks.harness.store.client.zrange("sl7:deliveries_away", 0, -1, withscores=True)
    assert due / 1000 >= before + least_s - 1


def test_calls_that_failed_together_do_not_come_back_together(
    harness: WorkerHarness, redis: RedisServer
) -> None:
    """A receiver that was away would meet all of them at once."""
    webhooks, pause_s, calls = DelivererHarness(harness, redis, delays_s=(10_000,)), 10_000, 6
    with receiver(*[(503, {})] * calls) as there:
        before = time.time()
        for _ in range(calls):
            webhooks.answered(Webhook(there.url))
            webhooks.deliverer.deliver(webhooks.next_delivery())
        after = time.time()
    line = webhooks.harness.store.client.zrange("sl7:deliveries_away", 0, -1, withscores=True)
    due = [score / 1000 for _, score in line]
    assert len(due) == calls
    assert before + pause_s - 1 <= min(due) <= max(due) <= after + pause_s * 1.1 + 1
    assert max(due) - min(due) > after - before + 1


def test_a_hanging_receiver_does_not_hold_up_the_others(webhooks: DelivererHarness) -> None:
    with receiver() as hanging, receiver() as well:
        hanging.open.clear()
        jobs = [webhooks.answered(Webhook(hanging.url)) for _ in range(2 * posting.MAX_CALLS)]
        other = webhooks.answered(Webhook(well.url))
        with webhooks.open():
            until(lambda: webhooks.tries(other))
            assert len(hanging.calls) <= PER_HOST
            hanging.open.set()
            until(lambda: all(webhooks.tries(job) for job in jobs))


def test_a_call_that_could_not_be_written_down_is_made_again_under_the_same_id(
    webhooks: DelivererHarness,
) -> None:
    with receiver() as there:
        webhooks.answered(Webhook(there.url))
        first = webhooks.next_delivery()
        cut_off = LossyStore(webhooks.harness.store, calls=1)
        with pytest.raises(Unavailable):
            Deliverer(webhooks.settings, cut_off, webhooks.harness.context.blobs).deliver(first)
        assert len(there.calls) == 1
    call = webhook_deliveries.next_delivery(webhooks.settings, ids.token(), posting.MAX_CALLS)
    later = webhooks.harness.store.client.time()[0] * 1000 + 2000 * PATIENCE_S
    again = webhooks.harness.store.run(replace(call, arguments={**call.arguments, "now": later}))
    assert isinstance(again, DueDelivery)
    assert again.notice.id == first.notice.id


def test_a_call_that_cannot_be_made_is_counted_and_does_not_come_again_for_ever(
    webhooks: DelivererHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("nobody thought of it")

    monkeypatch.setattr(posting, "post", broken)
    job = webhooks.answered(Webhook("http://127.0.0.1:9/"))
    webhooks.deliverer.deliver(webhooks.next_delivery())
    assert [(d.taken, d.error) for d in webhooks.tries(job)] == [(False, "the call could not be made")]


def test_a_call_that_waits_for_its_host_is_made_as_soon_as_another_ends(webhooks: DelivererHarness) -> None:
    queue = webhooks.settings.queue.model_copy(update={"rescue_s": 3600.0})
    webhooks.deliverer = Deliverer(
        webhooks.settings.model_copy(update={"queue": queue}),
        webhooks.harness.store,
        webhooks.harness.context.blobs,
    )
    with receiver() as there:
        there.open.clear()
        jobs = [webhooks.answered(Webhook(there.url)) for _ in range(PER_HOST + 1)]
        with webhooks.open():
            until(lambda: len(there.calls) == PER_HOST)
            there.open.set()
            until(lambda: all(webhooks.tries(job) for job in jobs))


def test_a_call_for_which_there_is_no_thread_does_not_end_all_others(
    webhooks: DelivererHarness, monkeypatch: pytest.MonkeyPatch
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
        webhooks.answered(Webhook(there.url))
        with webhooks.open():
            assert refused.wait(30)
            later = webhooks.answered(Webhook(there.url))
            until(lambda: webhooks.tries(later))
