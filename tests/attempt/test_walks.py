"""A newcomer who follows the walks of docs/architecture.md meets the functions that really run."""

from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.deliverer_harness import DelivererHarness
from tests.support.pictures import picture
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from tests.support.walks import missed, recorded, walk


def test_the_walk_of_a_claimed_job_is_the_one_that_a_worker_takes(harness: WorkerHarness) -> None:
    harness.ask("What is this?", picture())
    with recorded() as calls:
        harness.attempt()
    steps = walk("A claimed job")
    assert len(steps) > 5
    assert missed(steps, calls) is None


def test_the_walk_of_a_webhook_is_that_of_a_courier(harness: WorkerHarness, redis: RedisServer) -> None:
    webhooks = DelivererHarness(harness, redis)
    with receiver() as there:
        webhooks.answered(Webhook(there.url), "What is this?")
        with recorded() as calls:
            webhooks.work()
    steps = walk("A webhook")
    assert len(steps) > 5
    assert missed(steps, calls) is None
