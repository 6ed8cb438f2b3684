"""A courier's deliverer over a real store, and jobs whose ends are to be told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pydantic import SecretStr

from shared import ids
from shared.job import Delivery
from shared.settings import FetchSettings, QueueSettings, RedisSettings, Settings, WebhookSettings
from shared.store import webhook_deliveries
from shared.store.admission import JobTerms, submit
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.clients import PATIENCE_S
from tests.support.redis_server import RedisServer
from worker.webhooks import deliverer as posting
from worker.webhooks.deliverer import Deliverer

SECRET = "a secret of sixteen bytes"
LOOPBACK = FetchSettings(allow=("127.0.0.1",))


class DelivererHarness:
    """A deliverer over the harness's store; `delivery` is the next call that is due."""

    def __init__(self, harness: WorkerHarness, redis: RedisServer, **webhook: object) -> None:
        self.harness = harness
        self.settings = Settings(
            redis=RedisSettings(url=SecretStr(redis.url())),
            fetch=LOOPBACK,
            queue=QueueSettings(rescue_s=0.02),
            webhook=WebhookSettings.model_validate({"delays_s": (0, 0, 0), "limit_s": PATIENCE_S, **webhook}),
        )
        self.deliverer = Deliverer(self.settings, harness.store, harness.context.blobs)

    def ask(self, webhook: Webhook, text: str = "") -> str:
        """A job with a webhook, not yet computed; its id."""
        placing = self.harness.placing(text or ids.token(), ())
        secret = webhook.secret or SecretStr(SECRET)
        webhook = replace(webhook, secret=secret, host=webhook.url.split("/")[2])
        terms = JobTerms(metadata={"shop": "7"}, webhook=webhook)
        self.harness.store.run(submit(placing, self.settings, terms))
        return placing.job

    def answered(self, webhook: Webhook, text: str = "") -> str:
        job = self.ask(webhook, text)
        self.harness.attempt()
        return job

    def next_delivery(self) -> DueDelivery:
        taken = self.harness.store.run(
            webhook_deliveries.next_delivery(self.settings, ids.token(), posting.MAX_CALLS)
        )
        assert isinstance(taken, DueDelivery)
        return taken

    def tries(self, job: str) -> tuple[Delivery, ...]:
        hook = self.harness.job(job).hook
        assert hook is not None
        return hook.deliveries

    @contextmanager
    def open(self) -> Iterator[None]:
        self.deliverer.start()
        try:
            yield
        finally:
            self.deliverer.stop()
