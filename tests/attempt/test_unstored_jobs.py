"""What couriers and workers do with a job that is not to be stored."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from shared.blobs import BlobMissingError, digest
from shared.request import Image
from shared.settings import FetchSettings, Settings
from shared.store.admission import JobTerms, submit
from shared.store.jobs import view
from shared.store.script import ScriptCall, Store
from shared.webhooks import Webhook
from tests.support.attempt_harness import CALLER, WorkerHarness
from tests.support.existing import existing
from tests.support.pictures import picture
from tests.support.receiver import receiver
from worker.webhooks.deliverer import Deliverer

SECRET = SecretStr("a secret of sixteen bytes")


def ask(harness: WorkerHarness, shown: bytes, *, stored: bool, webhook: Webhook | None = None) -> str:
    """A job about a picture that is uploaded; its id."""
    name = digest(shown)
    harness.blobs.write(name, shown)
    placing = replace(harness.placing("What?", (Image(digest=name),), blobs=(name,)), key=None)
    how: dict[str, Any] = {} if stored else {"stored": False, "retain_s": 60}
    call = submit(placing, harness.settings, JobTerms(webhook=webhook, **how), uploaded=True)
    assert harness.store.run(call).word == "queued"
    return placing.job


class LosingStore(Store):
    """Loses the reply to each report of a delivery: the client repeats the report."""

    def run(self, call: ScriptCall[Any]) -> Any:
        if call.function == "call_report":
            super().run(call)
        return super().run(call)


@pytest.mark.parametrize("store", [Store, LosingStore])
@pytest.mark.parametrize("answers", [[], [(410, {})]], ids=["taken", "unwanted"])
def test_once_its_webhook_was_told_neither_the_job_nor_its_picture_is_left(
    harness: WorkerHarness, answers: list[Any], store: type[Store]
) -> None:
    settings = Settings(redis=harness.settings.redis, fetch=FetchSettings(allow=("127.0.0.1",)))
    deliverer = Deliverer(settings, store(harness.store.client), harness.blobs)
    with receiver() as there:
        there.answers += answers
        hook = Webhook(there.url, secret=SECRET, host=there.url.split("/")[2])
        job = ask(harness, picture(), stored=False, webhook=hook)
        harness.attempt()
        deliverer.attempt(existing(deliverer.take()))
        (call,) = there.calls
    assert call.event["data"]["result"]["text"]
    assert harness.store.run(view(settings, CALLER, job)) is None
    with pytest.raises(BlobMissingError):
        harness.blobs.read(digest(picture()))
