"""API keys: what one allows and for whom, and how its secret is kept."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Literal

from shared.webhooks import DefaultWebhook

Scope = Literal["submit", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("submit", "read", "admin")
CALLER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Callers' names stand in Redis keys, between colons; there `*` and the empty text mean all callers."""

SECRET = re.compile(r"sl_[0-9a-f]{40}")
"""The form of a secret: people and scanners for leaked secrets recognise ours by its beginning."""


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret; times in Unix ms.

    What is made with it belongs to `caller`, whom several keys may share. `requests_per_minute`, `max_queued`
    and `retain_s` are None where it has no quota or retention of its own; `former_until_ms` says how long the
    secret before the last rotation stays valid; earlier ones stay valid no longer.

    `last_seen_ms` is to the minute; `requests` are those of the last minute where it has a quota. `webhook`
    gets the events of its jobs and batches that name none.
    """

    id: str
    name: str
    caller: str
    scopes: tuple[Scope, ...]
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    former_until_ms: int | None = None
    requests_per_minute: int | None = None
    max_queued: int | None = None
    retain_s: int | None = None
    last_seen_ms: int | None = None
    requests: int | None = None
    webhook: DefaultWebhook | None = None


def new_secret() -> str:
    """160 random bits."""
    return f"sl_{secrets.token_hex(20)}"


def digest_of(secret: str) -> str:
    """What is kept in place of the secret.

    SHA-256 without salt or stretching: those slow down the guessing of what people make up. Nobody tries
    2^160 secrets, and one digest per request costs a microsecond. The store looks up the digest and compares
    no secret, so the time it takes reveals nothing of one.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Operator:
    """The caller of an admin route. `key` and `name` are those of the API key, `local` without keys.

    `address` is that of the connection's other end, or the one that a proxy on this machine reports;
    `request` is the id of the call.
    """

    key: str
    name: str
    address: str
    request: str
