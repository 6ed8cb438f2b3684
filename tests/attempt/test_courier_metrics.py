"""What couriers count is what they did: alerts rest on it."""

import pytest

from shared.webhooks import Webhook
from tests.attempt.test_intake import ask, serving
from tests.support.attempt_harness import WorkerHarness, worker_harness
from tests.support.clients import until
from tests.support.deliverer_harness import DelivererHarness
from tests.support.fetching import LOOPBACK
from tests.support.metrics import counted
from tests.support.pictures import Serve, answering, origin, picture
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from worker.fetching.intake import Intake
from worker.maintenance.leader import MaintenanceLeader

CALLS, INTAKES = "sightline_webhook_calls_total", "sightline_intakes_total"
GONE = answering(b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(("status", "outcome"), [(200, "taken"), (500, "retried"), (410, "gone")])
def test_a_webhooks_call_is_counted_by_what_its_receiver_said(
    harness: WorkerHarness, redis: RedisServer, status: int, outcome: str
) -> None:
    webhooks = DelivererHarness(harness, redis)
    before = counted(CALLS, outcome=outcome), counted(CALLS)
    with receiver((status, {})) as there:
        webhooks.answered(Webhook(there.url))
        webhooks.work()
    assert (counted(CALLS, outcome=outcome), counted(CALLS)) == (before[0] + 1, before[1] + 1)


def test_a_webhook_that_is_given_up_is_counted_once(harness: WorkerHarness, redis: RedisServer) -> None:
    webhooks = DelivererHarness(harness, redis)
    before = counted(CALLS, outcome="given_up"), counted(CALLS, outcome="retried")
    with receiver(*[(500, {})] * 4) as there:
        job = webhooks.answered(Webhook(there.url))
        with webhooks.open():
            until(lambda: len(webhooks.tries(job)) == 4)
    assert (counted(CALLS, outcome="given_up"), counted(CALLS, outcome="retried")) == (
        before[0] + 1,
        before[1] + 3,
    )


@pytest.mark.parametrize(("serve", "outcome"), [(serving(picture()), "admitted"), (GONE, "failed")])
def test_a_fetched_picture_and_one_that_cannot_be_had_are_told_apart(
    redis: RedisServer, serve: Serve, outcome: str
) -> None:
    with worker_harness(redis, fetch=LOOPBACK) as harness, origin(serve) as there:
        fetched = "sightline_fetch_seconds_count"
        before = counted(INTAKES, outcome=outcome), counted(fetched, kind="picture")
        ask(harness, there.url)
        Intake(
            harness.settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker
        ).work()
        assert counted(INTAKES, outcome=outcome) == before[0] + 1
        assert counted(fetched, kind="picture") == before[1] + 1


def test_a_dead_workers_run_is_counted_when_it_is_rescued(redis: RedisServer) -> None:
    before = counted("sightline_maintenance_total", **{"pass": "rescued"})
    with worker_harness(redis, lease_s=0.003, renew_s=0.001) as harness:
        harness.ask("x")
        harness.claim()
        maintenance = MaintenanceLeader(
            harness.settings, harness.store, harness.nudger, harness.blobs, "worker_courier"
        )
        until(lambda: maintenance.run_once()["rescued"])
    assert counted("sightline_maintenance_total", **{"pass": "rescued"}) == before + 1
