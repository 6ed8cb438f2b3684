"""Jobs with webhooks in a store that the test holds in its hands."""

from typing import Any

from pydantic import SecretStr

from shared.job import JobView
from shared.store.hooks import Errand
from shared.webhooks import EVENTS, Webhook
from tests.support.store import Records

SECRET = "a secret of sixteen bytes"
HOOK = Webhook("https://example.com/told?by=us", secret=SecretStr(SECRET), host="example.com")
ALL = Webhook("https://example.com/told", EVENTS, host="example.com")


def submit(records: Records, question: str = "", webhook: Webhook = HOOK, **said: Any) -> JobView:
    view = records.post(records.placing(question), webhook=webhook, **said).view
    assert view is not None
    return view


def submit_pending(records: Records) -> JobView:
    return submit(records, pending_terms='{"reuse":true}')


def ended(records: Records) -> JobView:
    view = submit(records)
    records.settle(records.claim())
    return view


def taken(records: Records) -> Errand:
    errand = records.errand()
    assert errand is not None
    return errand
