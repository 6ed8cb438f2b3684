"""The API keys' transitions and reads. Secrets never come here, only their digests."""

import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from shared.api_keys import ApiKey
from shared.store.records import RecordKind, flat
from shared.store.script import ScriptCall

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
    return KEYS.rotate(NOBODY, id, digest, grace_s, MOST_FORMER)


def revoke(id: str) -> ScriptCall[ApiKey | None]:
    """End a key and its secrets for good; harmless twice. None where there is no such key."""
    return ScriptCall("key_revoke", {"id": id, "kept_s": KEPT_S}, KEYS.known)
