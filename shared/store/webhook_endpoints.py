"""A caller's transitions of endpoints: make, list, change, rotate, delete, test; and how their calls went."""

import json
from typing import Any, Literal, cast

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.script import Script, ScriptCall
from shared.store.views import delivery
from shared.store.webhook_events import notice
from shared.webhooks import MOST, MOST_FORMER, DeliveryAttempt, Endpoint, EndpointUpdate, Notice, Why

CREATE, LIST, CHANGE = Script("endpoint_create"), Script("endpoint_list"), Script("endpoint_change")
ROTATE, DELETE, LOG = Script("endpoint_rotate"), Script("endpoint_delete"), Script("endpoint_log")
TEST, REPLAY = Script("endpoint_test"), Script("endpoint_replay")


def create(caller: str, new: Endpoint, host: str, secret: str) -> ScriptCall[Endpoint | None]:
    """Keep a new endpoint; its `created_ms` is the store's clock.

    None where the caller has as many as may be.
    """
    arguments = {
        "id": new.id,
        "caller": caller,
        "url": new.url,
        "host": host,
        "events": " ".join(new.events),
        "secret": secret,
        "description": new.description,
        "most": MOST,
    }
    return ScriptCall(CREATE, arguments, _known)


def endpoints(caller: str) -> ScriptCall[list[Endpoint]]:
    """All of a caller's, newest first."""
    return ScriptCall(LIST, {"caller": caller}, lambda reply: [_endpoint(row) for row in reply])


def change(caller: str, id: str, to: EndpointUpdate) -> ScriptCall[Endpoint | None]:
    """None where the caller has no such endpoint."""
    arguments = {
        "id": id,
        "caller": caller,
        "url": to.url,
        "host": to.host,
        "events": None if to.events is None else " ".join(to.events),
        "description": to.description,
        "enabled": to.enabled,
    }
    return ScriptCall(CHANGE, arguments, _known)


def rotate(caller: str, id: str, secret: str, grace_s: int) -> ScriptCall[Endpoint | None]:
    """Give an endpoint another secret; the former one signs as well for `grace_s`.

    None where the caller has no such endpoint.
    """
    arguments = {"id": id, "caller": caller, "secret": secret, "grace_s": grace_s, "most": MOST_FORMER}
    return ScriptCall(ROTATE, arguments, _known)


def delete(caller: str, id: str) -> ScriptCall[Literal["deleted"] | None]:
    """None where the caller has no such endpoint."""
    return ScriptCall(DELETE, {"id": id, "caller": caller}, lambda reply: reply)


def tries(caller: str, id: str) -> ScriptCall[list[DeliveryAttempt] | None]:
    """How the last calls of an endpoint went, newest first; None where the caller has no such endpoint."""

    def parse(reply: list[str] | None) -> list[DeliveryAttempt] | None:
        if reply is None:
            return None
        return [DeliveryAttempt(json.loads(row)["id"], delivery(row)) for row in reversed(reply)]

    return ScriptCall(LOG, {"id": id, "caller": caller}, parse)


def send_test(settings: Settings, caller: str, id: str, name: str, data: str) -> ScriptCall[Notice | None]:
    """Send an endpoint a test; `name` is the test's id, `data` (JSON) what it is told.

    None where the caller has no such endpoint.
    """
    arguments = {"id": id, "caller": caller, "test": name, "data": data}

    def parse(reply: list[Any] | None) -> Notice | None:
        return notice(f"{name}:sent", reply) if reply else None

    return ScriptCall(TEST, arguments, parse, constants=constants(settings))


Word = Literal["unknown", "expired", "queued"]


def replay(settings: Settings, caller: str, id: str, key: str) -> ScriptCall[tuple[Word, Notice | None]]:
    """Send an endpoint a notice of its caller, again or for the first time; `key` is the notice's."""
    arguments = {"id": id, "caller": caller, "notice": key}

    def parse(reply: list[Any]) -> tuple[Word, Notice | None]:
        return reply[0], notice(key, reply[1]) if reply[0] == "queued" else None

    return ScriptCall(REPLAY, arguments, parse, constants=constants(settings))


def _known(reply: list[Any] | None) -> Endpoint | None:
    return None if reply is None else _endpoint(reply)


def _endpoint(values: list[Any]) -> Endpoint:
    """Of what `shown` in endpoints.lua gives."""
    id, url, events, description, created, disabled, disabled_at, former_until = values
    return Endpoint(
        id=id,
        url=url,
        events=tuple(events.split()),
        description=description,
        created_ms=int(created),
        disabled=cast(Why | None, disabled),
        disabled_ms=int(disabled_at) if disabled_at else None,
        former_until_ms=int(former_until) if former_until else None,
    )
