"""Webhooks: what a caller asks for, and how each call is signed (Standard Webhooks 1.0).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from pydantic import SecretStr

RUNNING = "job.running"
ENDINGS = ("job.succeeded", "job.failed", "job.cancelled")
EVENTS = (RUNNING, *ENDINGS)
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
LEAST_SECRET = 16
LONGEST_SECRET = 256


@dataclass(frozen=True)
class Webhook:
    """Where the events of one job go. Without a `secret` the installation's own signs.

    `param` names where the URL stood in the caller's body; `host` is its authority, once it was checked.
    """

    url: str
    events: tuple[str, ...] = ENDINGS
    secret: SecretStr | None = None
    param: str = "webhook.url"
    host: str = ""


def key_of(secret: str) -> bytes:
    """The bytes that sign: those behind `whsec_` in base64, else the text's own.

    Raises ValueError, without the secret in it.
    """
    if len(secret) > LONGEST_SECRET:
        raise ValueError(f"should have at most {LONGEST_SECRET} characters")
    key = secret.encode()
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"should be base64 behind {SECRET_PREFIX}") from None
    if len(key) < LEAST_SECRET:
        raise ValueError(f"should have at least {LEAST_SECRET} bytes")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature of the `webhook-signature` header: HMAC-SHA256 of id, time of the call and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
