"""Webhooks: what a caller asks for, and how each call is signed (Standard Webhooks 1.0).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from shared.job import JobView
from shared.json_line import in_one_line
from shared.result import Choice, Result
from shared.tool_calls.thoughts import split_thoughts

RUNNING = "job.running"
ENDINGS = ("job.succeeded", "job.failed", "job.cancelled")
EVENTS = (RUNNING, *ENDINGS)
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
LEAST_SECRET = 16
LONGEST_SECRET = 256


@dataclass(frozen=True)
class Webhook:
    """Where the events of one job or batch go.

    It is signed by its own `secret`, by that of the API key with the id `key`, or by the installation's.
    `param` names where the URL stood in the caller's body; `host` is its authority, once it was checked.
    """

    url: str
    events: tuple[str, ...] = ENDINGS
    secret: SecretStr | None = None
    param: str = "webhook.url"
    host: str = ""
    key: str | None = None


@dataclass(frozen=True)
class DefaultWebhook:
    """Where the events of an API key's jobs and batches go that name no webhook.

    `former_until_ms` is until when the secret from before a rotation signs as well.
    """

    url: str
    events: tuple[str, ...]
    former_until_ms: int | None = None


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


BATCH_EVENTS = ("batch.completed", "batch.failed", "batch.cancelled", "batch.expired")
MOST_FORMER = 4
"""Secrets from before rotations that sign at once."""


def new_secret() -> str:
    """192 random bits, in the form that Standard Webhooks' libraries take."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


# The body of an event: the same at each try.
#
# A job is told under the names of `GET /v1/jobs/{id}`, without what only that answers.


@dataclass(frozen=True)
class Notice:
    """One thing that happened at `at_ms`, under the same `id` at each try.

    `subject` is the id of what it happened to. `job` is the job as it stood then, with its answer; for other
    subjects `data` (JSON) is what is told. `request_id` and `trace` (a carrier of `shared.telemetry.traces`)
    are those of the call that asked for the job.
    """

    id: str
    type: str
    at_ms: int
    subject: str
    job: JobView | None = field(default=None, repr=False)
    data: str | None = field(default=None, repr=False)
    request_id: str = ""
    trace: str = ""


def body_of(notice: Notice) -> str:
    """`{type, timestamp, data}` as one line of JSON."""
    data = _dumped(_public_view(notice.job)) if notice.job else notice.data
    body = f'{{"type":{_dumped(notice.type)},"timestamp":"{_iso(notice.at_ms)}","data":{data}}}'
    return in_one_line(body)


def _public_view(job: JobView) -> dict[str, Any]:
    facts = {
        "result": None if job.result is None else _result(job.result),
        "error": None if job.error is None else job.error.model_dump(),
        "retry_of": job.retry_of,
    }
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "model": job.model,
        "created_at": job.created_ms / 1000,
        "started_at": None if job.started_ms is None else job.started_ms / 1000,
        "ended_at": None if job.ended_ms is None else job.ended_ms / 1000,
        "cache": job.cache,
        "metadata": job.metadata,
    } | {name: value for name, value in facts.items() if value is not None}


def _result(result: Result) -> dict[str, Any]:
    """Without logprobs, which are many times the text: callers can ask for them."""
    usage, choices = result.usage, [_choice(choice, result.syntax) for choice in result.choices]
    return {
        **{name: choices[0][name] for name in ("text", "reasoning") if name in choices[0]},
        "choices": choices,
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }


def _choice(choice: Choice, syntax: str | None) -> dict[str, Any]:
    thoughts, text = split_thoughts(choice.text, syntax)
    told = {"reasoning": thoughts} if thoughts else {}
    return choice.model_dump(exclude={"logprobs"}) | {"text": text} | told


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
