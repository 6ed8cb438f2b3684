"""The courier's calls of endpoints: signed by every secret that counts, and no more where nobody is there."""

from shared import ids
from shared.store import webhook_endpoints
from shared.webhooks import Endpoint, Webhook
from tests.support.attempt_harness import CALLER
from tests.support.clients import until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.receiver import receiver

OLD, NEW = "whsec_" + "b2xkIG9sZCBvbGQgb2xkIG9sZA==", "whsec_" + "bmV3IG5ldyBuZXcgbmV3IG5ldw=="


def made(webhooks: DelivererHarness, url: str, *events: str) -> str:
    """An endpoint of the harness's caller; its id."""
    new = Endpoint(ids.endpoint_id(), url, events or ("job.succeeded",), "", 0)
    assert (
        webhooks.harness.store.run(webhook_endpoints.create(CALLER, new, url.split("/")[2], OLD)) is not None
    )
    return new.id


def test_after_a_rotation_a_call_verifies_under_the_old_and_new_secret(webhooks: DelivererHarness) -> None:
    with receiver() as there:
        id = made(webhooks, there.url)
        webhooks.harness.store.run(webhook_endpoints.rotate(CALLER, id, NEW, 60))
        webhooks.answered(Webhook(there.url, ("job.failed",)))
        webhooks.deliverer.work()
        assert there.verified(OLD) == there.verified(NEW)
        (call,) = there.calls
    assert len(call.headers["webhook-signature"].split(" ")) == 2


def test_a_job_s_webhook_and_an_endpoint_get_the_same_bytes_under_own_secrets(
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
