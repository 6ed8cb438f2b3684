"""The API keys' transitions and reads. Secrets never come here, only their digests."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from shared.api_keys import ApiKey
from shared.store.records import RecordKind, flat
from shared.store.script import ScriptCall
from shared.store.views import pairs
from shared.webhooks import MOST_FORMER as MOST_FORMER_HOOK
from shared.webhooks import DefaultWebhook

KEPT_S = 30 * 86_400
"""How long a key that is revoked or has expired is still listed."""
MOST_FORMER = 16
"""Former secrets in force at most; those that end soonest go first."""
_KEY = TypeAdapter(ApiKey)
WINDOW_MS = 60_000
"""Of a quota (`functions/rate_limit.lua`)."""


def _key(fields: dict[str, Any]) -> ApiKey:
    requests = None
    if "requests_per_minute" in fields:
        from_s = (int(fields["now_ms"]) - WINDOW_MS) // 1000
        rate = json.loads(fields.get("rate", "{}"))
        requests = sum(count for second, count in rate.items() if int(second) > from_s)
    shown = {"scopes": fields["scopes"].split(), "requests": requests, "webhook": _webhook(fields)}
    return _KEY.validate_python(fields | shown)


def _webhook(fields: dict[str, Any]) -> DefaultWebhook | None:
    if "hook_url" not in fields:
        return None
    until = int(fields.get("hook_former_until_ms", 0))
    return DefaultWebhook(
        url=fields["hook_url"],
        events=tuple(fields["hook_events"].split()),
        former_until_ms=until if until > int(fields["now_ms"]) else None,
    )


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
    changed = {"id": None, "created_ms": None, "webhook": None, "scopes": " ".join(key.scopes)}
    arguments = {"id": key.id, "secret": digest, "expires_ms": key.expires_ms, "kept_s": KEPT_S}
    fields = flat(**asdict(key) | changed, secret=digest)
    return ScriptCall("key_create", {**arguments, "fields": fields}, KEYS.parse)


def use(digest: str, *, reads: bool = False) -> ScriptCall[Use | None]:
    """Look up a request's key and count the request; None where no key in force has this secret.

    A request that only `reads` is not counted.
    """

    def parse(reply: list[Any] | None) -> Use | None:
        return None if reply is None else Use(KEYS.parse(reply[0]), int(reply[1]), int(reply[2]))

    return ScriptCall("key_use", {"digest": digest, "reads": reads or None}, parse)


def keys(after: str | None = None, limit: int = 1000) -> ScriptCall[list[ApiKey] | None]:
    """A page, newest first; None where `after` is no key."""
    return KEYS.page(NOBODY, after=after, limit=limit)


def rotate(id: str, digest: str, grace_s: int) -> ScriptCall[ApiKey | None]:
    """Give a key another secret; None where no such key is in force."""
    return _rotate(id, digest, grace_s, MOST_FORMER)


def set_webhook(
    id: str, to: DefaultWebhook, host: str, secret: str
) -> ScriptCall[tuple[ApiKey, bool] | None]:
    """Set a key's default webhook, and whether it is signed by this `secret`: one that it has stays.

    None if no such key is in force.
    """
    fields = flat(hook_url=to.url, hook_host=host, hook_events=" ".join(to.events))

    def parse(reply: list[Any] | None) -> tuple[ApiKey, bool] | None:
        return (KEYS.parse(reply), pairs(reply)["hook_secret"] == secret) if reply else None

    return ScriptCall("key_webhook", {"id": id, "fields": fields, "secret": secret}, parse)


def rotate_webhook(id: str, secret: str, grace_s: int) -> ScriptCall[ApiKey | None]:
    """Give a key's default webhook another secret; None if no such key in force has one."""
    return _rotate(id, secret, grace_s, MOST_FORMER_HOOK, "hook_")


def _rotate(id: str, secret: str, grace_s: int, most: int, prefix: str = "") -> ScriptCall[ApiKey | None]:
    """Give a key a new secret; the former one stays valid for `grace_s`, and `most` former ones are kept."""
    arguments = {"id": id, "secret": secret, "grace_s": grace_s, "most": most, "prefix": prefix}
    return ScriptCall("key_rotate", arguments, KEYS.known)


def delete_webhook(id: str) -> ScriptCall[ApiKey | None]:
    """End a key's default webhook with its secrets and waiting calls. None if there is no such key."""
    return ScriptCall("key_unhook", {"id": id}, KEYS.known)


def revoke(id: str) -> ScriptCall[ApiKey | None]:
    """End a key and its secrets for good; harmless twice. None where there is no such key."""
    return ScriptCall("key_revoke", {"id": id, "kept_s": KEPT_S}, KEYS.known)
