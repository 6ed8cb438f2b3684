"""Reads headers and query parameters; the error for a bad value names it."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, TypeVar

from fastapi import Header, Request
from pydantic import BaseModel, Field

from api.admission.submission import Idempotency
from api.server.reply import reply_of
from shared.errors import CallerError
from shared.value_object import value_object

NO = frozenset({"false", "0"})
YES = frozenset({"true", "1"})
Word = TypeVar("Word", bound=str)
_KEY_LIMIT = 255
_INTEGER = re.compile(r"[0-9]+")
_MOST_DIGITS = 20
"""More than any legitimate count has; int() refuses thousands of digits."""


class KeyFields(BaseModel, frozen=True):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        max_length=_KEY_LIMIT,
        description="The same key and body again is the same job or batch.",
    )

    def idempotency(self, http: Request) -> Idempotency | None:
        """Call it once the body, if there is one, was read."""
        if not self.idempotency_key:
            return None
        call = f"{http.method}\n{http.url.path}\n{reply_of(http).body_digest}"
        return Idempotency(self.idempotency_key, hashlib.sha256(call.encode()).hexdigest())


class CacheFields(BaseModel, frozen=True):
    use_cache: bool = Field(True, alias="x-use-cache", description="`false` or `0`: a new computation.")


class JobFields(CacheFields, KeyFields, frozen=True):
    """Headers of a call that makes a job."""


class PreferFields(BaseModel, frozen=True):
    prefer: tuple[str, ...] = Field(
        (),
        alias="Prefer",
        description="RFC 7240: `wait=N` waits up to N seconds for a job's end; `respond-async` answers with "
        "a job where a route can; before a whole answer `wait` sends line breaks: its status "
        "is 200 then, and an error stands in the body.",
    )

    @property
    def preferences(self) -> "Preferences":
        return preferences(", ".join(self.prefer))


class SubmitFields(JobFields, PreferFields, frozen=True):
    """Headers of a call that makes a job and may wait for its end."""


class SyncFields(JobFields, PreferFields, frozen=True):
    """Headers of a call whose answer is the result."""

    wait_for_model: bool = Field(
        False, alias="x-wait-for-model", description="`true`: wait while the model loads instead of 503."
    )


BatchHeaders = Annotated[KeyFields, Header()]
CacheHeaders = Annotated[CacheFields, Header()]
JobHeaders = Annotated[JobFields, Header()]
SubmitHeaders = Annotated[SubmitFields, Header()]
SyncHeaders = Annotated[SyncFields, Header()]


@value_object
class Preferences:
    """The `Prefer` header (RFC 7240); `wait_s` is None where no wait was asked for, inf for a bare `wait`."""

    respond_async: bool = False
    wait_s: float | None = None


@lru_cache(64)
def preferences(header: str) -> Preferences:
    """Unknown preferences are ignored, as the RFC demands; where one comes twice, the first counts."""
    values: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        values.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = values.get("wait")
    wait_s = math.inf if wait == "" else float(wait) if wait and _INTEGER.fullmatch(wait) else None
    return Preferences(values.get("respond-async") == "", wait_s)


def integer(name: str, text: str, *, largest: int, least: int = 0) -> int:
    """A count from a header or query, capped at `largest`. Raises CallerError `invalid_request`."""
    count = int(text.lstrip("0")[:_MOST_DIGITS] or "0") if _INTEGER.fullmatch(text) else -1
    if count < least:
        raise CallerError("invalid_request", f"{name} must be a whole number, {least} or more.", param=name)
    return min(count, largest)


def flag(values: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """A boolean header or query parameter; R writes TRUE. Raises CallerError `invalid_request`."""
    text = values.get(name)
    if text is not None and text.lower() not in YES | NO:
        raise CallerError("invalid_request", f"{name} is true or false.", param=name)
    return default if text is None else text.lower() in YES


def page_limit(http: Request, *, default: int = 20, largest: int = 100) -> int:
    """How many items a page of a list shows; never none, since an empty page has no cursor to go on from."""
    limit = http.query_params.get("limit", str(default))
    return integer("limit", limit, largest=largest, least=1)


def one_of(http: Request, name: str, words: Sequence[Word]) -> Word | None:
    """A query parameter that is one of these words. Raises CallerError `invalid_request`."""
    value = http.query_params.get(name)
    chosen = next((word for word in words if word == value), None)
    if value is not None and chosen is None:
        raise CallerError("invalid_request", f"{name} is one of {', '.join(words)}.", param=name)
    return chosen


def ascending(http: Request) -> bool:
    """Whether a list begins with the oldest. Raises CallerError `invalid_request`."""
    return one_of(http, "order", ("asc", "desc")) == "asc"


def event_place(http: Request) -> int:
    """The event to go on after; a reconnecting EventSource's header is newer than its URL's query."""
    # The standard's readers send an empty id before the first event.
    if header := http.headers.get("last-event-id"):
        return integer("Last-Event-ID", header, largest=2**53)
    return integer("after", http.query_params.get("after", "0"), largest=2**53)
