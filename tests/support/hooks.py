"""Jobs with webhooks in a store that the test drives."""

from typing import Any

from pydantic import SecretStr

from shared import ids
from shared.job import JobView
from shared.store import webhook_endpoints, webhook_events
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import EVENTS, Endpoint, Webhook
from tests.support.store import Records

SECRET = "a secret of sixteen bytes"
HOOK = Webhook("https://example.com/told?by=us", secret=SecretStr(SECRET), host="example.com")
ALL = Webhook("https://example.com/told", EVENTS, host="example.com")


def submit(records: Records, question: str = "", webhook: Webhook = HOOK, **said: Any) -> JobView:
    return records.accept(records.placing(question), webhook=webhook, **said)


def submit_pending(records: Records) -> JobView:
    return submit(records, pending_terms='{"reuse":true}')


def ended(records: Records) -> JobView:
    view = submit(records)
    records.settle(records.claim())
    return view


def taken(records: Records) -> DueDelivery:
    delivery = records.next_delivery()
    assert delivery is not None
    return delivery


def job_of(delivery: DueDelivery) -> JobView:
    """The job that a call tells of, as it then stood."""
    assert delivery.notice.job is not None
    return delivery.notice.job


def endpoint(
    records: Records, *events: str, url: str = "https://all.example/", caller: str = "anyone"
) -> str:
    """A caller's new endpoint; its id."""
    made = Endpoint(ids.endpoint_id(), url, events or ("job.*", "batch.*"), "", 0)
    assert records.run(webhook_endpoints.create(caller, made, url.split("/")[2], SECRET)) is not None
    return made.id


def told_to(records: Records) -> list[tuple[str, str, str]]:
    """Every call that is due, made and taken: URL, type, subject."""
    found = []
    while delivery := records.next_delivery():
        found.append((delivery.url, delivery.notice.type, delivery.notice.subject))
        records.tell(delivery)
    return found


def log(records: Records, *types: str, caller: str = "anyone", after: str | None = None) -> list[str]:
    """The types of the events in a caller's log, read in pages of two."""
    found: list[str] = []
    while True:
        page = records.run(webhook_events.page(caller, after=after, types=types, limit=2))
        assert page is not None
        found += [notice.type for notice in page.notices]
        if page.next is None:
            return found
        after = page.next
