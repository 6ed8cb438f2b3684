"""A courier's deliverer over a real store, and jobs whose ends are to be told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pydantic import SecretStr

from shared import ids
from shared.job import Delivery
from shared.settings import FetchSettings, QueueSettings, RedisSettings, Settings, WebhookSettings
from shared.store.admission import JobTerms, submit
from shared.store.script import Store
from shared.store.webhooks import DueCall
from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.existing import existing
from tests.support.patience import PATIENCE_S
from tests.support.redis_server import RedisServer
from worker.webhooks.deliverer import Deliverer

SECRET = "a secret of sixteen bytes"
LOOPBACK = FetchSettings(allow=("127.0.0.1",))


class DelivererHarness:
    """A deliverer over the harness's store."""

    def __init__(self, harness: WorkerHarness, redis: RedisServer, **webhook: object) -> None:
        self.harness = harness
        self.settings = Settings(
            redis=RedisSettings(url=SecretStr(redis.url())),
            fetch=LOOPBACK,
            queue=QueueSettings(rescue_s=0.02),
            webhook=WebhookSettings.model_validate({"delays_s": (0, 0, 0), "limit_s": PATIENCE_S, **webhook}),
        )
        self.deliverer = self.opened(self.settings, harness.store)

    def opened(self, settings: Settings, store: Store) -> Deliverer:
        return Deliverer(settings, store, self.harness.blobs)

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

    def next_call(self) -> DueCall:
        """The call that is due, claimed."""
        return existing(self.deliverer.take())

    def work(self) -> None:
        """Make the call that is due."""
        self.deliverer.attempt(self.next_call())

    def tries(self, job: str) -> tuple[Delivery, ...]:
        hook = self.harness.job(job).hook
        assert hook is not None
        return hook.deliveries

    def put_off(self) -> list[float]:
        """When calls are made again, in Unix seconds."""
        client = self.harness.store.client
        lines = [client.zrange(key, 0, -1, withscores=True) for key in client.scan_iter("sl9:calls:*")]
        return [due / 1000 for line in lines for _, due in line]

    @contextmanager
    def open(self) -> Iterator[None]:
        """A courier calls."""
        calling = self.deliverer.poll(self.settings.queue.rescue_s)
        calling.start()
        try:
            yield
        finally:
            self.deliverer.draining.set()
            calling.stop()
