"""A caller's webhook endpoints and the log of the caller's events; other callers' do not exist for it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from api.admission.checks import webhook_host
from shared import ids
from shared.errors import CallerError
from shared.settings import Settings
from shared.store import webhook_endpoints, webhook_events
from shared.store.headroom import Headroom
from shared.store.script import AsyncStore
from shared.webhooks import DeliveryAttempt, Endpoint, EndpointUpdate, Notice, new_secret

T = TypeVar("T")


class Endpoints:
    """Knows nothing of HTTP. Methods that take an endpoint's id raise CallerError `webhook_not_found`."""

    def __init__(self, settings: Settings, store: AsyncStore, headroom: Headroom) -> None:
        self._settings = settings
        self._store = store
        self._headroom = headroom

    async def create(self, caller: str, new: Endpoint) -> tuple[Endpoint, str]:
        """The endpoint and its secret, which is never shown again.

        Raises CallerError `invalid_webhook_url`, `too_many_webhooks`, Unavailable `store_unavailable`.
        """
        await self._headroom.check()
        host, secret = webhook_host(new.url, self._settings, "url"), new_secret()
        endpoint = await self._store.run(webhook_endpoints.create(caller, new, host, secret))
        if endpoint is None:
            raise CallerError("too_many_webhooks", "You have as many webhooks as may be; delete one.")
        return endpoint, secret

    async def list(self, caller: str) -> list[Endpoint]:
        """Newest first."""
        return await self._store.run(webhook_endpoints.endpoints(caller))

    async def get(self, caller: str, id: str) -> Endpoint:
        return _require(next((e for e in await self.list(caller) if e.id == id), None))

    async def change(self, caller: str, id: str, to: EndpointUpdate) -> Endpoint:
        """Raises CallerError `invalid_webhook_url`."""
        if to.url is not None:
            to = replace(to, host=webhook_host(to.url, self._settings, "url"))
        return _require(await self._store.run(webhook_endpoints.change(caller, id, to)))

    async def rotate(self, caller: str, id: str, grace_s: int) -> tuple[Endpoint, str]:
        """The endpoint and its new secret; the old one signs beside it for `grace_s`."""
        secret = new_secret()
        return _require(await self._store.run(webhook_endpoints.rotate(caller, id, secret, grace_s))), secret

    async def delete(self, caller: str, id: str) -> None:
        _require(await self._store.run(webhook_endpoints.delete(caller, id)))

    async def tries(self, caller: str, id: str) -> Sequence[DeliveryAttempt]:
        """How the last calls to the endpoint went, newest first."""
        return _require(await self._store.run(webhook_endpoints.tries(caller, id)))

    async def test(self, caller: str, id: str) -> Notice:
        """Send a test event now, retried for days. Raises Unavailable `store_unavailable`."""
        await self._headroom.check()
        data = json.dumps({"id": id, "object": "webhook"}, separators=(",", ":"))
        call = webhook_endpoints.send_test(self._settings, caller, id, ids.test_id(), data)
        return _require((await self._store.run(call))[1])

    async def replay(self, caller: str, id: str, event_id: str) -> Notice:
        """Send the endpoint one of its caller's events, again or for the first time.

        Raises CallerError `event_not_found`.
        """
        key = webhook_events.key_of(event_id)
        if key is None:
            raise _no_event("event")
        outcome, notice = await self._store.run(webhook_endpoints.replay(self._settings, caller, id, key))
        if outcome == "expired":
            raise _no_event("event")
        return _require(notice)

    async def events(
        self, caller: str, *, after: str | None, types: Sequence[str], limit: int
    ) -> tuple[Sequence[Notice], bool]:
        """The events in the caller's log after the event `after`, oldest first, and whether there are more.

        Long answers make a page shorter than `limit`.

        Raises CallerError `event_not_found` where the log never held `after`, or holds it no longer.
        """
        key = None if after is None else webhook_events.key_of(after)
        if key is None and after is not None:
            raise _no_event("after")
        notices: list[Notice] = []
        size = 0
        while len(notices) <= limit and size < webhook_events.PAGE_BYTES:
            call = webhook_events.page(
                caller,
                after=key,
                types=types,
                limit=limit + 1 - len(notices),
                room=webhook_events.PAGE_BYTES - size,
            )
            page = await self._store.run(call)
            if page is None:
                raise _no_event("after")
            notices += page.notices
            size += page.bytes
            key = page.next
            if key is None:
                break
        return notices[:limit], len(notices) > limit or key is not None


def _require(reply: T | None) -> T:
    if reply is None:
        raise CallerError("webhook_not_found", "There is no such webhook.")
    return reply


def _no_event(param: str) -> CallerError:
    return CallerError("event_not_found", "There is no such event, or it is no longer kept.", param=param)
