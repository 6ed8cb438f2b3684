"""Webhooks of the whole service: told once by whoever lives, whatever dies."""

from collections.abc import Iterator
from typing import Any

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.receiver import receiver
from tests.support.service import COURIER, Service

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"


def events(api: Api) -> Iterator[Any]:
    """The whole log, page by page."""
    page: Any = {"has_more": True, "last_id": None}
    while page["has_more"]:
        place = {"after": page["last_id"]} if page["last_id"] else {}
        page = api.get("/v1/events", params={"limit": 100, **place}).json()
        yield from page["data"]


def test_what_ended_without_a_courier_is_told_by_the_next_and_nothing_twice(
    service: Service, api: Api
) -> None:
    with receiver() as own, receiver() as there:
        hook = api.post("/v1/webhooks", json={"url": there.url, "events": ["job.succeeded"]}).json()
        first = api.submit(model=ECHO, input={"prompt": "told at once"})
        # Written down: else it would be told once more.
        until(lambda: api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["data"])
        service.kill(COURIER)
        webhook = {"url": own.url, "secret": SECRET}
        # The one that is cancelled would take ten seconds.
        texts = {ECHO: "told by the next", SLOW: "later " * 100}
        done, cancelled = (
            api.submit(model=model, input={"prompt": text}, webhook=webhook) for model, text in texts.items()
        )
        api.post(f"/v1/jobs/{cancelled}/cancel")
        api.ended(done)
        assert own.calls == []
        service.start(COURIER)
        until(lambda: len(own.calls) == len(there.calls) == 2)
        api.delete(f"/v1/webhooks/{hook['id']}")
        logged = {event["id"]: event for event in events(api)}
        ends = {e["data"]["id"]: e["type"] for e in own.verified(SECRET)}
        told_of = there.verified(hook["secret"])
    assert ends == {done: "job.succeeded", cancelled: "job.cancelled"}
    assert [event["data"]["id"] for event in told_of] == [first, done]
    for call, event in zip(there.calls, told_of, strict=True):
        assert logged[call.headers["webhook-id"]] == {"id": call.headers["webhook-id"], **event}
