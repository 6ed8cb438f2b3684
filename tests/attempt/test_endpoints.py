"""The courier's calls of endpoints: signed by every secret that counts, and no more where nobody is there."""

import pytest

from shared import ids
from shared.settings import Settings
from shared.store import webhook_endpoints
from shared.webhooks import Endpoint, EndpointUpdate, Webhook
from tests.support.attempt_harness import CALLER, Workbench
from tests.support.clients import until
from tests.support.deliverer_harness import SECRET, Office
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from worker.webhooks.post import post

OLD, NEW = "whsec_" + "b2xkIG9sZCBvbGQgb2xkIG9sZA==", "whsec_" + "bmV3IG5ldyBuZXcgbmV3IG5ldw=="


@pytest.fixture
def office(desk: Workbench, redis: RedisServer) -> Office:
    return Office(desk, redis)


def made(office: Office, url: str, *events: str) -> str:
    """An endpoint of the workbench's caller; its id."""
    new = Endpoint(ids.endpoint_id(), url, events or ("job.succeeded",), "", 0)
    assert office.desk.store.run(webhook_endpoints.create(CALLER, new, url.split("/")[2], OLD)) is not None
    return new.id


def statuses(office: Office, id: str) -> list[int | None]:
    tries = office.desk.store.run(webhook_endpoints.tries(CALLER, id))
    return [tried.delivery.status for tried in tries or ()]


def test_after_a_rotation_a_call_verifies_under_the_old_and_the_new_secret(office: Office) -> None:
    with receiver() as there:
        id = made(office, there.url)
        office.desk.store.run(webhook_endpoints.rotate(CALLER, id, NEW, 60))
        office.answered(Webhook(there.url, ("job.failed",)))
        office.deliverer.deliver(office.next_delivery())
        assert there.verified(OLD) == there.verified(NEW)
        (told,) = there.told
    assert len(told.headers["webhook-signature"].split(" ")) == 2


def test_a_job_s_webhook_and_an_endpoint_get_the_same_bytes_each_under_its_secret(office: Office) -> None:
    with receiver() as own, receiver() as all_ends:
        made(office, all_ends.url)
        office.answered(Webhook(own.url))
        with office.open():
            until(lambda: own.told and all_ends.told)
        assert own.verified(SECRET.encode()) == all_ends.verified(OLD)
        assert own.told[0].headers["webhook-id"] == all_ends.told[0].headers["webhook-id"]
        assert own.told[0].body == all_ends.told[0].body


def test_an_endpoint_that_fails_is_called_again_and_says_so(office: Office) -> None:
    with receiver((500, {}), (204, {})) as there:
        id = made(office, there.url)
        office.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        with office.open():
            until(lambda: statuses(office, id) == [204, 500])
        assert len({(told.headers["webhook-id"], told.body) for told in there.told}) == 1


def test_an_endpoint_that_is_gone_is_not_called_for_the_next_job(office: Office) -> None:
    with receiver((410, {})) as gone, receiver() as well:
        id = made(office, gone.url)
        made(office, well.url)
        with office.open():
            office.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
            until(lambda: statuses(office, id) == [410])
            office.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
            until(lambda: len(well.told) == 2)
        assert len(gone.told) == 1


def test_a_moved_endpoint_is_not_turned_off_by_its_former_address_and_misses_nothing(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver((410, {})) as former, receiver() as there:
        id = made(office, former.url)
        office.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        under_way = office.next_delivery()
        moved = webhook_endpoints.change(
            CALLER, id, EndpointUpdate(url=there.url, host=there.url.split("/")[2])
        )
        office.desk.store.run(moved)
        office.deliverer.deliver(under_way)
        office.deliverer.deliver(office.next_delivery())
        assert [told.headers["webhook-id"] for told in there.told] == [under_way.notice.id]
    assert statuses(office, id) == [204, 410]
    assert [known.disabled for known in office.desk.store.run(webhook_endpoints.endpoints(CALLER))] == [None]
    assert "given up" not in caplog.text


def test_a_test_goes_the_same_way_as_every_call(office: Office) -> None:
    with receiver() as there:
        id = made(office, there.url)
        office.desk.store.run(
            webhook_endpoints.send_test(office.settings, CALLER, id, ids.test_id(), '{"a":1}')
        )
        with office.open():
            until(lambda: statuses(office, id) == [204])
        (event,) = there.verified(OLD)
    assert (event["type"], event["data"]) == ("webhook.test", {"a": 1})


def test_an_address_that_may_no_longer_be_called_is_not(office: Office) -> None:
    with receiver() as there:
        made(office, there.url)
        office.answered(Webhook("http://127.0.0.1:1/", ("job.failed",)))
        tried = post(office.next_delivery(), "{}", Settings()).tried
        assert there.told == []
    assert "not public" in (tried.error or "")
