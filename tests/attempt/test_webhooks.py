"""The courier's calls of webhooks: what receivers get, and what their faults cost nobody else."""

import json
import logging
import threading
import time
from typing import Any

import pytest

from api.dialects.native.jobs import to_job
from shared.api_keys import ApiKey
from shared.errors import Unavailable
from shared.store import api_keys
from shared.store.admission import JobTerms, submit
from shared.store.script import ScriptCall, Store
from shared.webhooks import EVENTS, DefaultWebhook, Webhook, new_secret
from tests.support.attempt_harness import CALLER, FAIL, WorkerHarness
from tests.support.clients import until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.existing import existing
from tests.support.patience import PATIENCE_S
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from tests.support.stored import forget_answers
from worker.webhooks import deliverer as posting


def test_a_receiver_verifies_what_it_is_told_and_finds_the_job_as_the_service_does(
    webhooks: DelivererHarness,
) -> None:
    with receiver() as there:
        job = webhooks.answered(Webhook(there.url), "What is this?")
        webhooks.work()
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
            webhooks.work()
        events = there.verified(SECRET.encode())
    told = {(e["type"], e["data"]["id"]): e["data"] for e in events}
    assert told.keys() == {
        ("job.running", failed), ("job.failed", failed), ("job.cancelled", cancelled),
    }  # fmt: skip
    begun, ended = told["job.running", failed], told["job.failed", failed]
    assert (begun["status"], begun["ended_at"], "error" in begun) == ("running", None, False)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "attempts_exhausted")


def test_a_job_without_a_secret_is_signed_by_the_service_s(
    harness: WorkerHarness, redis: RedisServer
) -> None:
    own = "whsec_" + "c2VjcmV0IG9mIHRoZSBzZXJ2aWNlIGl0c2VsZg=="
    webhooks = DelivererHarness(harness, redis, secret=own)
    with receiver() as there:
        job = webhooks.answered(Webhook(there.url))
        harness.store.client.hdel(f"sl9:{job}:hook", "secret")
        webhooks.work()
        assert there.verified(own)[0]["type"] == "job.succeeded"


def test_both_secrets_sign_a_call_after_a_rotation(webhooks: DelivererHarness) -> None:
    run, secrets = webhooks.harness.store.run, [new_secret(), new_secret()]
    with receiver() as there:
        key = ApiKey("key_0a", "shop", CALLER, ("submit",), 0)
        run(api_keys.create(key, "digest"))
        hook = DefaultWebhook(there.url, ("job.succeeded",))
        run(api_keys.set_webhook(key.id, hook, there.url.split("/")[2], secrets[0]))
        run(api_keys.rotate_webhook(key.id, secrets[1], 86_400))
        placing = webhooks.harness.placing("What is this?", ())
        run(submit(placing, webhooks.settings, JobTerms(webhook=key.id)))
        webhooks.harness.attempt()
        webhooks.work()
        for secret in secrets:
            assert there.verified(secret)[0]["data"]["id"] == placing.job


def test_a_repeat_has_the_same_id_and_the_same_bytes(webhooks: DelivererHarness) -> None:
    with receiver((500, {}), (302, {"location": "http://127.0.0.1:1/"}), (204, {})) as there:
        job = webhooks.answered(Webhook(there.url))
        with webhooks.open():
            until(lambda: len(webhooks.tries(job)) == 3)
        forget_answers(webhooks.harness.store.client)
        assert len({(t.headers["webhook-id"], t.body) for t in there.calls}) == 1
    assert [(d.status, d.taken) for d in webhooks.tries(job)] == [(500, False), (302, False), (204, True)]
    hook = existing(webhooks.harness.job(job).hook)
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
    assert webhooks.harness.store.client.ttl(f"sl9:{job}") > 0


@pytest.mark.parametrize(("said", "least_s"), [("700", 700), ("Wed, 01 Jan 2098 00:00:00 GMT", 86_400)])
def test_a_receiver_is_left_alone_as_long_as_it_asks(
    webhooks: DelivererHarness, said: str, least_s: int
) -> None:
    with receiver((503, {"Retry-After": said})) as there:
        webhooks.answered(Webhook(there.url))
        before = time.time()
        webhooks.work()
    (due,) = webhooks.put_off()
    assert due >= before + least_s - 1


def test_calls_that_failed_together_come_back_one_by_one(harness: WorkerHarness, redis: RedisServer) -> None:
    """A receiver that was away would meet all of them at once."""
    webhooks, pause_s, calls = DelivererHarness(harness, redis, delays_s=(10_000,)), 10_000, 6
    with receiver(*[(503, {})] * calls) as there:
        before = time.time()
        for _ in range(calls):
            webhooks.answered(Webhook(there.url))
            webhooks.work()
        after = time.time()
    due = webhooks.put_off()
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
            assert len(hanging.calls) <= webhooks.settings.webhook.host_calls
            hanging.open.set()
            until(lambda: all(webhooks.tries(job) for job in jobs))


class CutOff(Store):
    """Cut off from the store as the first call ends."""

    def run(self, call: ScriptCall[Any]) -> Any:
        if call.function == "call_report" and not self.__dict__.get("was_cut_off"):
            self.was_cut_off = True
            raise Unavailable("store_unavailable", "lost on the way")
        return super().run(call)


def test_a_call_that_could_not_be_written_down_at_once_is_not_made_again(
    webhooks: DelivererHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "RETRY_S", 0)
    with receiver() as there:
        job = webhooks.answered(Webhook(there.url))
        deliverer = webhooks.opened(webhooks.settings, CutOff(webhooks.harness.store.client))
        deliverer.work_on(deliverer.take())
        assert len(there.calls) == 1
    assert [d.taken for d in webhooks.tries(job)] == [True]


def test_a_call_that_cannot_be_made_is_counted_and_does_not_come_again_for_ever(
    webhooks: DelivererHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("nobody thought of it")

    monkeypatch.setattr(posting, "post", broken)
    job = webhooks.answered(Webhook("http://127.0.0.1:9/"))
    webhooks.work()
    assert [(d.taken, d.error) for d in webhooks.tries(job)] == [(False, "the call could not be made")]


def test_a_call_that_waits_for_its_host_is_made_as_soon_as_another_ends(webhooks: DelivererHarness) -> None:
    with receiver() as there:
        jobs = [webhooks.answered(Webhook(there.url)) for _ in range(3)]
        poll = webhooks.deliverer.poll(PATIENCE_S)
        poll.look()
        until(lambda: all(webhooks.tries(job) for job in jobs))
        poll.stop()


def test_a_call_for_which_there_is_no_thread_does_not_end_all_others(
    webhooks: DelivererHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may have only so many."""
    start, refused = threading.Thread.start, threading.Event()

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "attempt" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with receiver() as there, receiver() as another:
        webhooks.answered(Webhook(there.url))
        with webhooks.open():
            assert refused.wait(PATIENCE_S)
            later = webhooks.answered(Webhook(another.url))
            until(lambda: webhooks.tries(later))
