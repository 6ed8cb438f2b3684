"""The courier's calls of endpoints: signed by every secret that counts, and no more where nobody is there."""

from threading import Event

import pytest

from shared import ids
from shared.settings import Settings
from shared.store import webhook_endpoints
from shared.webhooks import Endpoint, EndpointUpdate, Webhook
from tests.support.attempt_harness import CALLER, WorkerHarness
from tests.support.clients import until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from worker.webhooks.post import post

OLD, NEW = "whsec_" + "b2xkIG9sZCBvbGQgb2xkIG9sZA==", "whsec_" + "bmV3IG5ldyBuZXcgbmV3IG5ldw=="


@pytest.fixture
def webhooks(harness: WorkerHarness, redis: RedisServer) -> DelivererHarness:
    return DelivererHarness(harness, redis)


def made(webhooks: DelivererHarness, url: str, *events: str) -> str:
    """An endpoint of the harness's caller; its id."""
    new = Endpoint(ids.endpoint_id(), url, events or ("job.succeeded",), "", 0)
    assert (
        webhooks.harness.store.run(webhook_endpoints.create(CALLER, new, url.split("/")[2], OLD)) is not None
    )
    return new.id


def statuses(webhooks: DelivererHarness, id: str) -> list[int | None]:
    tries = webhooks.harness.store.run(webhook_endpoints.tries(CALLER, id))
    return [tried.delivery.status for tried in tries or ()]


def test_after_a_rotation_a_call_verifies_under_the_old_and_the_new_secret(
    webhooks: DelivererHarness,
) -> None:
    with receiver() as there:
        id = made(webhooks, there.url)
        webhooks.harness.store.run(webhook_endpoints.rotate(CALLER, id, NEW, 60))
        webhooks.answered(Webhook(there.url, ("job.failed",)))
        webhooks.deliverer.work()
        assert there.verified(OLD) == there.verified(NEW)
        (call,) = there.calls
    assert len(call.headers["webhook-signature"].split(" ")) == 2


def test_a_job_s_webhook_and_an_endpoint_get_the_same_bytes_each_under_its_secret(
    webhooks: DelivererHarness,
) -> None:
    with receiver() as own, receiver() as all_ends:
        made(webhooks, all_ends.url)
        webhooks.answered(Webhook(own.url))
        with webhooks.open():
            until(lambda: own.calls and all_ends.calls)
        assert own.verified(SECRET.encode()) == all_ends.verified(OLD)
        assert own.calls[0].headers["webhook-id"] == all_ends.calls[0].headers["webhook-id"]
        assert own.calls[0].body == all_ends.calls[0].body


def test_an_endpoint_that_fails_is_called_again_and_says_so(webhooks: DelivererHarness) -> None:
    with receiver((500, {}), (204, {})) as there:
        id = made(webhooks, there.url)
        webhooks.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        with webhooks.open():
            until(lambda: statuses(webhooks, id) == [204, 500])
        assert len({(call.headers["webhook-id"], call.body) for call in there.calls}) == 1


def test_an_endpoint_that_is_gone_is_not_called_for_the_next_job(webhooks: DelivererHarness) -> None:
    with receiver((410, {})) as gone, receiver() as well:
        id = made(webhooks, gone.url)
        made(webhooks, well.url)
        with webhooks.open():
            webhooks.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
            until(lambda: statuses(webhooks, id) == [410])
            webhooks.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
            until(lambda: len(well.calls) == 2)
        assert len(gone.calls) == 1


def test_a_moved_endpoint_is_not_turned_off_by_its_former_address_and_misses_nothing(
    webhooks: DelivererHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver((410, {})) as former, receiver() as there:
        id = made(webhooks, former.url)
        webhooks.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        moved = webhook_endpoints.change(
            CALLER, id, EndpointUpdate(url=there.url, host=there.url.split("/")[2])
        )
        webhooks.during_call(former, moved)
        webhooks.deliverer.work()
        ids = [call.headers["webhook-id"] for call in (*former.calls, *there.calls)]
        assert (len(ids), len(set(ids))) == (2, 1)
    assert statuses(webhooks, id) == [204, 410]
    assert [known.disabled for known in webhooks.harness.store.run(webhook_endpoints.endpoints(CALLER))] == [
        None
    ]
    assert "given up" not in caplog.text


def test_a_test_goes_the_same_way_as_every_call(webhooks: DelivererHarness) -> None:
    with receiver() as there:
        id = made(webhooks, there.url)
        webhooks.harness.store.run(
            webhook_endpoints.send_test(webhooks.settings, CALLER, id, ids.test_id(), '{"a":1}')
        )
        with webhooks.open():
            until(lambda: statuses(webhooks, id) == [204])
        (event,) = there.verified(OLD)
    assert (event["type"], event["data"]) == ("webhook.test", {"a": 1})


def test_an_address_that_may_no_longer_be_called_is_not(webhooks: DelivererHarness) -> None:
    with receiver() as there:
        made(webhooks, there.url)
        webhooks.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        tried = post(webhooks.next_delivery(), "{}", Settings(), Event()).tried
        assert there.calls == []
    assert "not public" in (tried.error or "")
