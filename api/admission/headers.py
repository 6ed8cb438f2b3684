"""Reads headers and query parameters by hand, so that the error for a bad value names it."""

import hashlib
import math
import re
from dataclasses import dataclass

from fastapi import Request

from api.admission.submission import Terms
from api.auth.callers import caller_of
from api.server.reply import reply_of
from shared.errors import CallerError

NO = frozenset({"false", "False", "0"})
YES = frozenset({"true", "True", "1"})
_KEY_LIMIT = 255
# A comma within quotes does not separate; a quote that is never closed goes on to the end.
_PREFERENCE = re.compile(r'(?:"(?:[^"\\]|\\.?)*+"?|[^,"]++)++')
# A name, then after `=` a word, which may be quoted; parameters of the preference follow.
_WORD = re.compile(r'\s*+([^\s=;"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))\s*+)?(?:;.*)?')
_INTEGER = re.compile(r"[0-9]+")
_MOST_DIGITS = 20
"""More than any legitimate count has; int() refuses thousands of digits."""


@dataclass(frozen=True)
class Preferences:
    """The `Prefer` header (RFC 7240); `wait_s` is None where no wait was asked for, inf for a bare `wait`."""

    respond_async: bool = False
    wait_s: float | None = None


def preferences(request: Request) -> Preferences:
    """Unknown preferences are ignored, as the RFC demands; where one comes twice, the first counts."""
    said: dict[str, str] = {}
    for preference in _PREFERENCE.findall(", ".join(request.headers.getlist("prefer"))):
        if match := _WORD.fullmatch(preference):
            said.setdefault(match[1].lower(), re.sub(r"\\(.)", r"\1", match[2] or "") or match[3] or "")
    wait = said.get("wait")
    wait_s = math.inf if wait == "" else float(wait) if wait and _INTEGER.fullmatch(wait) else None
    return Preferences(said.get("respond-async") == "", wait_s)


def terms(request: Request, body: bytes) -> Terms:
    """The terms in headers that all doors share; routes add what only they know with `dataclasses.replace`.

    Raises CallerError `invalid_request` for an Idempotency-Key that is too long, or two of them.
    """
    keys = set(request.headers.getlist("idempotency-key"))
    if len(keys) > 1:
        raise CallerError("invalid_request", "Send one Idempotency-Key.", param="Idempotency-Key")
    key = next(iter(keys), None) or None
    if key and len(key) > _KEY_LIMIT:
        message = f"The key is longer than {_KEY_LIMIT} characters."
        raise CallerError("invalid_request", message, param="Idempotency-Key")
    caller = caller_of(request)
    return Terms(
        caller=caller.id,
        max_queued=caller.max_queued,
        retain_s=caller.retain_s,
        use_cache=request.headers.get("x-use-cache") not in NO,
        idempotency_key=key,
        body_digest=_digest(request, body) if key else "",
        request_id=reply_of(request).request_id,
    )


def waits_for_model(request: Request) -> bool:
    return request.headers.get("x-wait-for-model") in YES


def integer(name: str, text: str, *, largest: int, least: int = 0) -> int:
    """A count from a header or query, capped at `largest`. Raises CallerError `invalid_request`."""
    count = int(text.lstrip("0")[:_MOST_DIGITS] or "0") if _INTEGER.fullmatch(text) else -1
    if count < least:
        raise CallerError("invalid_request", f"{name} must be a whole number, {least} or more.", param=name)
    return min(count, largest)


def flag(request: Request, name: str, *, usual: bool = False) -> bool:
    """A boolean query parameter. Raises CallerError `invalid_request`."""
    said = request.query_params.get(name)
    if said is not None and said not in YES | NO:
        raise CallerError("invalid_request", f"{name} is true or false.", param=name)
    return usual if said is None else said in YES


def page_limit(request: Request, *, usual: int = 20, largest: int = 100) -> int:
    """How many items a page of a list shows; never none, since an empty page has no cursor to go on from."""
    return integer("limit", request.query_params.get("limit", str(usual)), largest=largest, least=1)


def _digest(request: Request, body: bytes) -> str:
    head = f"{request.method}\n{request.url.path}\n".encode()
    return hashlib.sha256(head + body).hexdigest()
