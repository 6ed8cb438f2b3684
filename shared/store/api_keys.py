"""The API keys' transitions and reads, and the log of what operators did.

Secrets never come here, only their digests. An act is logged in the step that does it: neither exists alone.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from shared.api_keys import AdminAction, ApiKey, Operator, Outcome
from shared.store.records import RecordKind, flat, read
from shared.store.script import ScriptCall, T
from shared.store.views import pairs

KEPT_S = 30 * 86_400
"""How long a key that is revoked or has expired is still listed."""
MOST_FORMER = 16
"""Former secrets in force at most; those that end soonest go first."""
MOST_ACTIONS = 10_000
"""Acts that are kept; the oldest go first."""
LONGEST_SUBJECT = 200
_KEY, _ACTION = TypeAdapter(ApiKey), TypeAdapter(AdminAction)
WINDOW_MS = 60_000
"""Of a quota (`functions/rate_limit.lua`)."""


def _key(fields: dict[str, Any]) -> ApiKey:
    requests = None
    if "requests_per_minute" in fields:
        from_s = (int(fields["now_ms"]) - WINDOW_MS) // 1000
        rate = json.loads(fields.get("rate", "{}"))
        requests = sum(count for second, count in rate.items() if int(second) > from_s)
    return _KEY.validate_python(fields | {"scopes": fields["scopes"].split(), "requests": requests})


KEYS = RecordKind("keys", _key)
NOBODY = ""
"""Whose the keys are."""


@dataclass(frozen=True)
class Use:
    """One request with a key. `left` requests fit into the window, -1 = this one did not.

    In `reset_s` seconds the oldest request leaves the window. Both are 0 where the key has no quota.
    """

    key: ApiKey
    left: int = 0
    reset_s: int = 0


def create(key: ApiKey, digest: str) -> ScriptCall[ApiKey]:
    """Keep a new key; its `created_ms` is the store's clock."""
    fields = flat(**asdict(key) | {"id": None, "created_ms": None, "scopes": " ".join(key.scopes)})
    call = KEYS.create(NOBODY, key.id, digest, fields, expires_ms=key.expires_ms, kept_s=KEPT_S)
    # Nobody has too many.
    return cast(ScriptCall[ApiKey], call)


def use(digest: str, *, reads: int | None = None) -> ScriptCall[Use | None]:
    """Look up a request's key and count the request; None where no key in force has this secret.

    One that only reads is counted apart: there may be `reads` times as many.
    """

    def parse(reply: list[Any] | None) -> Use | None:
        return None if reply is None else Use(KEYS.parse(reply[0]), int(reply[1]), int(reply[2]))

    return ScriptCall("key_use", {"digest": digest, "reads": reads}, parse)


def keys(after: str | None = None, limit: int = 1000) -> ScriptCall[list[ApiKey] | None]:
    """A page, newest first; None where `after` is no key."""
    return KEYS.page(NOBODY, after=after, limit=limit)


def rotate(id: str, digest: str, grace_s: int) -> ScriptCall[ApiKey | None]:
    """Give a key another secret; None where no such key is in force."""
    return KEYS.rotate(NOBODY, id, digest, grace_s, MOST_FORMER)


def revoke(id: str) -> ScriptCall[ApiKey | None]:
    """End a key and its secrets for good; harmless twice. None where there is no such key."""
    return ScriptCall("key_revoke", {"id": id, "kept_s": KEPT_S}, KEYS.known)


def by(operator: Operator, action: str, subject: str, call: ScriptCall[T]) -> ScriptCall[tuple[Outcome, T]]:
    """The same transition, logged as this operator's action on a key or model, with its outcome."""
    # The subject may be anything that was typed.
    act = flat(action=action, subject=subject[:LONGEST_SUBJECT], **asdict(operator))

    def parse(reply: list[Any]) -> tuple[Outcome, T]:
        # Lua's lists end before a nil.
        outcome, *answer = reply
        return outcome, call.parse(answer[0] if answer else None)

    record = {"by": act, "operator": operator.name, "max_admin_actions": MOST_ACTIONS}
    return ScriptCall(call.function, {**call.arguments, **record}, parse, call.text)


def page(after: str | None, limit: int) -> ScriptCall[list[AdminAction]]:
    """Newest first, behind the act with the id `after`."""
    # The server refuses a range that ends before the first possible id.
    end = "+" if after is None else f"({after}" if re.search("[1-9]", after) else "-"
    command = ("XREVRANGE", "deeds", end, "-", "COUNT", limit)
    return read(command, lambda reply: [_admin_action(*row) for row in reply])


def _admin_action(id: str, row: list[Any]) -> AdminAction:
    fields = pairs(row)
    return _ACTION.validate_python({**fields, "id": id, "operator": fields})
