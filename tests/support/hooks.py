"""Jobs with webhooks in a store that the test drives."""

from typing import Any

from pydantic import SecretStr

from shared import ids
from shared.api_keys import ApiKey
from shared.job import JobView
from shared.store import api_keys
from shared.store.webhooks import DueCall
from shared.webhooks import EVENTS, DefaultWebhook, Webhook
from tests.support.existing import existing
from tests.support.store import Records

SECRET = "a secret of sixteen bytes"
HOOK = Webhook("https://example.com/told?by=us", secret=SecretStr(SECRET), host="example.com")
ALL = Webhook("https://example.com/told", EVENTS, host="example.com")


def submit(records: Records, question: str = "", webhook: Webhook | str = HOOK, **said: Any) -> JobView:
    return records.accept(records.placing(question), webhook=webhook, **said)


def ended(records: Records, webhook: Webhook | str = HOOK) -> JobView:
    view = submit(records, webhook=webhook)
    records.settle(records.claim())
    return view


def taken(records: Records) -> DueCall:
    return existing(records.next_delivery())


def default_webhook(
    records: Records, *events: str, url: str = "https://all.example/", key: str | None = None
) -> str:
    """Set the default webhook of a key, which is made if need be; the key's id."""
    if key is None:
        key = ids.key_id()
        records.run(api_keys.create(ApiKey(key, "one", "anyone", ("submit",), 0), f"digest of {key}"))
    webhook = DefaultWebhook(url, events or ("job.succeeded", "batch.failed"))
    existing(records.run(api_keys.set_webhook(key, webhook, url.split("/")[2], SECRET)))
    return key


def told_to(records: Records) -> list[tuple[str, str, str]]:
    """Every call that is due, made and taken: URL, type, subject."""
    found = []
    while call := records.next_delivery():
        found.append((call.url, call.notice.type, call.notice.subject))
        records.tell(call)
    return found
