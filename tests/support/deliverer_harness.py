"""A courier's deliverer over a real store, and jobs whose ends are to be told."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from shared import ids
from shared.job import Delivery
from shared.settings import FetchSettings, QueueSettings, RedisSettings, Settings, WebhookSettings
from shared.store.admission import JobTerms, submit
from shared.store.script import ScriptCall, Store
from shared.store.webhook_deliveries import DueDelivery, delivery
from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.receiver import Receiver
from tests.support.redis_server import RedisServer
from worker.maintenance.leader import MaintenanceLeader
from worker.webhooks.deliverer import MAX_CALLS, Deliverer

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
        harness = self.harness
        return Deliverer(settings, store, harness.nudger, harness.blobs, harness.leases, "courier-1")

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
        """The call that is due, claimed."""
        claim = self.deliverer.take()
        assert claim is not None
        due = self.harness.store.run(delivery(claim))
        assert due is not None
        return due

    def during_call(self, there: Receiver, change: ScriptCall[Any]) -> None:
        """Make the call that is due, and meanwhile a change."""
        there.open.clear()
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(self.deliverer.work)
            until(lambda: there.calls)
            self.harness.store.run(change)
            there.open.set()
            assert call.result()

    def tries(self, job: str) -> tuple[Delivery, ...]:
        hook = self.harness.job(job).hook
        assert hook is not None
        return hook.deliveries

    def put_off(self) -> list[float]:
        """When calls are made again, in Unix seconds."""
        line = self.harness.store.client.zrange("sl8:later", 0, -1, withscores=True)
        return [due / 1000 for _, due in line]

    @contextmanager
    def open(self) -> Iterator[None]:
        """A courier calls, and its maintenance puts in line what is due again."""
        calling = self.deliverer.poll(MAX_CALLS, self.settings.queue.rescue_s)
        leader = MaintenanceLeader(
            self.settings, self.harness.store, self.harness.nudger, self.harness.blobs, "courier-1"
        )
        calling.start()
        leader.start()
        try:
            yield
        finally:
            self.deliverer.draining.set()
            calling.stop()
            leader.stop()
