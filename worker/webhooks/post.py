"""Makes one call of a webhook: signed, guarded (`worker.fetching`), bounded in time, without redirects."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import h11

from shared.errors import CallerError
from shared.job import GONE, Delivery
from shared.settings import Settings
from shared.store.webhooks import DueCall
from shared.telemetry import traces
from shared.url_guard import Target, check_url
from shared.webhooks import key_of, signature
from worker.fetching import guarded_http
from worker.fetching.guarded_http import (
    FAULTS,
    Allowance,
    OriginError,
    Resolver,
    connect,
    resolve,
    retry_after_s,
)

MAX_ANSWER, DRAIN_S = 4096, 1.0
"""Bytes of an answer's body that are read and ignored, and for how many seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a call went; `retry_after_s` is what the receiver asks for."""

    tried: Delivery
    retry_after_s: float = 0.0


def post(
    due: DueCall,
    body: str,
    settings: Settings,
    cancel: threading.Event,
    resolver: Resolver = resolve,
) -> Outcome:
    """Call the webhook once. The outcome says what went wrong in our own words, not in the answer's."""
    began, at_ms = time.monotonic(), round(time.time() * 1000)
    status, wait_s = None, 0.0
    try:
        response = _call(due, body.encode(), settings, cancel, resolver)
        status, wait_s = response.status_code, retry_after_s(response) or 0.0
        error = None if 200 <= status < 300 else _refusal(status)
    except CallerError as refused:
        error = str(refused)
    except FAULTS as fault:
        error = guarded_http.describe(fault, "receiver", settings.webhook.limit_s)
    took_ms = round((time.monotonic() - began) * 1000)
    return Outcome(Delivery(due.notice.type, at_ms, took_ms, status, error, due.tries + 1), wait_s)


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"the receiver answered with status {status}; redirects are not followed"
    return f"the receiver answered with status {status}" + (": no more calls" if status == GONE else "")


def _call(
    due: DueCall, body: bytes, settings: Settings, cancel: threading.Event, resolver: Resolver
) -> h11.Response:
    keys = _keys(due, settings)
    reach = settings.fetch.reach
    allowance = Allowance(settings.webhook.limit_s, MAX_ANSWER, cancel)
    target = check_url(due.url, reach, None)
    with connect(target, reach, resolver, allowance, None) as connection:
        request = _request(target, due, body, keys, settings.fetch.user_agent)
        http, response = guarded_http.exchange(connection, request, allowance)
        # A connection closed on an unread answer looks to the receiver as if we had hung up.
        with suppress(*FAULTS):
            drain_s = min(DRAIN_S, allowance.remaining_s())
            for _ in guarded_http.body(http, connection, Allowance(drain_s, MAX_ANSWER, threading.Event())):
                pass
        return response


def _keys(due: DueCall, settings: Settings) -> list[bytes]:
    default = settings.webhook.secret
    if due.secrets:
        return [key_of(secret) for secret in due.secrets]
    if default is None:
        raise OriginError("the service has no secret to sign it with")
    return [key_of(default.get_secret_value())]


def _request(
    target: Target, due: DueCall, body: bytes, keys: list[bytes], user_agent: str
) -> Sequence[h11.Event]:
    id, timestamp = due.notice.id, int(time.time())
    signatures = [signature(key, id, timestamp, body) for key in keys]
    headers = [
        ("Host", target.authority),
        ("User-Agent", user_agent),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("webhook-id", id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signatures)),
        *_origin(due),
        ("Connection", "close"),
    ]
    return [
        h11.Request(method="POST", target=target.path, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ]


def _origin(due: DueCall) -> Iterator[tuple[str, str]]:
    """Headers that name the API call from which the job came, as far as known."""
    if due.notice.request_id:
        yield "x-request-id", due.notice.request_id
    parent, _, state = traces.here().partition(" ")
    if parent:
        yield "traceparent", parent
    if state:
        yield "tracestate", state
