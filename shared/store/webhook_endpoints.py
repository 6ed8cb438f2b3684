"""A caller's transitions of endpoints: make, list, change, rotate, delete, test; and how their calls went."""

import json
from typing import Any, Literal, cast

from pydantic import TypeAdapter

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.records import NOW, Command, RecordKind, flat
from shared.store.script import ScriptCall
from shared.store.views import delivery
from shared.store.webhook_events import notice
from shared.webhooks import MOST, MOST_FORMER, DeliveryAttempt, Endpoint, EndpointUpdate, Notice

_ENDPOINT = TypeAdapter(Endpoint)


def _endpoint(fields: dict[str, Any]) -> Endpoint:
    if int(fields.get("former_until_ms", 0)) <= int(fields["now_ms"]):
        fields["former_until_ms"] = None
    # An error of a field that cannot be read must show no secret.
    shown = {name: value for name, value in fields.items() if name not in ("secret", "formers")}
    return _ENDPOINT.validate_python(shown | {"events": fields["events"].split()})


ENDPOINTS = RecordKind("endpoints", _endpoint)


def create(caller: str, new: Endpoint, host: str, secret: str) -> ScriptCall[Endpoint | None]:
    """Keep a new endpoint; its `created_ms` is the store's clock.

    None where the caller has as many as may be.
    """
    events = " ".join(new.events)
    fields = flat(caller=caller, url=new.url, host=host, events=events, description=new.description)
    return ENDPOINTS.create(caller, new.id, secret, fields, most=MOST)


def endpoints(caller: str) -> ScriptCall[list[Endpoint]]:
    """All of a caller's, newest first."""
    # There always is a first page.
    return cast(ScriptCall[list[Endpoint]], ENDPOINTS.page(caller, after=None, limit=MOST))


def change(caller: str, id: str, to: EndpointUpdate) -> ScriptCall[Endpoint | None]:
    """None where the caller has no such endpoint."""
    events = None if to.events is None else " ".join(to.events)
    fields = flat(id=id, url=to.url, host=to.host, events=events, description=to.description)
    commands: list[Command] = [("HSET", "", *fields)]
    if to.enabled:
        commands.append(("HDEL", "", "disabled", "disabled_ms"))
    elif to.enabled is not None:
        commands += [("HSETNX", "", "disabled", "caller"), ("HSETNX", "", "disabled_ms", NOW)]
    return ENDPOINTS.change(caller, id, commands, ENDPOINTS.known)


def rotate(caller: str, id: str, secret: str, grace_s: int) -> ScriptCall[Endpoint | None]:
    """Give an endpoint another secret; the former one signs as well for `grace_s`."""
    return ENDPOINTS.rotate(caller, id, secret, grace_s, MOST_FORMER)


def delete(caller: str, id: str) -> ScriptCall[Literal["deleted"] | None]:
    """None where the caller has no such endpoint."""
    commands = [("DEL", ""), ("DEL", ":deliveries")]
    return ENDPOINTS.change(caller, id, commands, lambda reply: None if reply is None else "deleted")


def tries(caller: str, id: str) -> ScriptCall[list[DeliveryAttempt] | None]:
    """How the last calls of an endpoint went, newest first; None where the caller has no such endpoint."""

    def parse(reply: list[str] | None) -> list[DeliveryAttempt] | None:
        if reply is None:
            return None
        return [DeliveryAttempt(json.loads(row)["id"], delivery(row)) for row in reversed(reply)]

    return ENDPOINTS.read(caller, id, ("LRANGE", ":deliveries", 0, -1), parse)


Word = Literal["unknown", "expired", "queued"]


def replay(
    settings: Settings, caller: str, id: str, key: str, data: str | None = None
) -> ScriptCall[tuple[Word, Notice | None]]:
    """Send an endpoint a notice of its caller, again or for the first time; `key` is the notice's."""
    arguments = {"id": id, "caller": caller, "notice": key, "data": data}

    def parse(reply: list[Any]) -> tuple[Word, Notice | None]:
        return reply[0], notice(key, reply[1]) if reply[0] == "queued" else None

    return ScriptCall("endpoint_send", arguments, parse, constants=constants(settings))


def send_test(
    settings: Settings, caller: str, id: str, name: str, data: str
) -> ScriptCall[tuple[Word, Notice | None]]:
    """Send an endpoint a test; `name` is the test's id, `data` (JSON) what it is told."""
    return replay(settings, caller, id, f"{name}:sent", data)
