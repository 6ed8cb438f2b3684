"""The API keys' transitions and reads. Secrets never come here, only their digests."""

from dataclasses import dataclass
from typing import Any, cast

from shared.api_keys import ApiKey, Scope
from shared.store.script import Script, ScriptCall
from shared.store.views import pairs

CREATE, LIST = Script("key_create"), Script("key_list")
USE, ROTATE, REVOKE = Script("key_use"), Script("key_rotate"), Script("key_revoke")
KEPT_S = 30 * 86_400
"""How long a key that is revoked or has expired is still listed."""


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
    arguments = {
        "id": key.id,
        "name": key.name,
        "caller": key.caller,
        "scopes": " ".join(key.scopes),
        "digest": digest,
        "expires": key.expires_ms,
        "rate": key.requests_per_minute,
        "max_queued": key.max_queued,
        "retain_s": key.retain_s,
        "kept_s": KEPT_S,
    }
    return ScriptCall(CREATE, arguments, _key)


def use(digest: str) -> ScriptCall[Use | None]:
    """Look up a request's key and count the request; None where no key in force has this secret."""

    def parse(reply: list[Any] | None) -> Use | None:
        return None if reply is None else Use(_key(reply[0]), int(reply[1]), int(reply[2]))

    return ScriptCall(USE, {"digest": digest}, parse)


def keys() -> ScriptCall[list[ApiKey]]:
    """All keys, newest first."""
    return ScriptCall(LIST, {}, lambda reply: [_key(row) for row in reply])


def rotate(id: str, digest: str, grace_s: int) -> ScriptCall[ApiKey | None]:
    """Give a key another secret; the former one goes on for `grace_s`, earlier ones no longer than they had.

    None where no such key is in force.
    """
    return ScriptCall(ROTATE, {"id": id, "digest": digest, "grace_s": grace_s}, _known)


def revoke(id: str) -> ScriptCall[ApiKey | None]:
    """End a key and its secrets for good; harmless twice. None where there is no such key."""
    return ScriptCall(REVOKE, {"id": id, "kept_s": KEPT_S}, _known)


def _known(reply: list[Any] | None) -> ApiKey | None:
    return None if reply is None else _key(reply)


def _key(flat: list[Any]) -> ApiKey:
    fields = pairs(flat)
    numbers = {
        name: int(fields[name])
        for name in ("expires", "revoked", "former_until", "rate", "max_queued", "retain_s")
        if name in fields
    }
    return ApiKey(
        id=fields["id"],
        name=fields["name"],
        caller=fields["caller"],
        scopes=tuple(cast(Scope, scope) for scope in fields["scopes"].split()),
        created_ms=int(fields["created"]),
        expires_ms=numbers.get("expires"),
        revoked_ms=numbers.get("revoked"),
        former_until_ms=numbers.get("former_until"),
        requests_per_minute=numbers.get("rate"),
        max_queued=numbers.get("max_queued"),
        retain_s=numbers.get("retain_s"),
    )
