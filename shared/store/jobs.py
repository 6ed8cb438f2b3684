"""A caller's transitions and reads: view, list, follow, cancel, purge."""

import json
import math
import string
from typing import Any, cast

from shared.estimate import Lane
from shared.job import EVERYTHING, UNSEARCHED, Filter, JobRequest, JobView, Page, Status
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.keys import digests
from shared.store.records import read
from shared.store.script import ScriptCall

EVENT_PAGE_LIMIT = 512
EVENT_PAGE_BYTES = 64 * 2**10
"""A reader that stalls holds one page of events, which takes many times this size in memory."""
LOOK = 200
"""Jobs looked at for one page at most: two milliseconds in which the store does nothing else."""
ESCAPED = str.maketrans(dict.fromkeys(UNSEARCHED, " "))
ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
PAGE_BYTES = 2 * 2**20
"""Bytes of one page's records, unless its first is larger. With logprobs one answer may have a megabyte."""


def view(settings: Settings, caller: str, job: str, *, line: bool = False) -> ScriptCall[JobView | None]:
    """One job; None where the caller has no such job. `line`: for its batch, which may see it for longer."""
    arguments = {"caller": caller, "job": job, "line": line or None}
    return ScriptCall("view", arguments, _readable, size=views.answer_bytes, constants=constants(settings))


def jobs(
    settings: Settings,
    caller: str,
    *,
    after: str | None,
    limit: int,
    wanted: Filter = EVERYTHING,
    results: bool = True,
) -> ScriptCall[Page | None]:
    """A page, newest first; None where `after` is no cursor and none of the caller's jobs.

    Where no `results` are wanted they are None, as if they had expired, and `answer` has the beginning.
    """
    arguments = {
        "caller": caller,
        "after": after,
        "limit": limit,
        "look": LOOK,
        "bytes": PAGE_BYTES,
        "bare": not results or None,
        "status": " ".join(wanted.statuses) or None,
        **_filter(wanted),
    }

    def parse(reply: list[Any] | None) -> Page | None:
        if reply is None:
            return None
        rows, cursor, size, known = reply
        lanes = {name: views.lane(facts) for name, facts in known}
        readable = (_readable(row, lanes, bare=not results) for row in rows)
        return Page(tuple(view for view in readable if view), cursor or None, size)

    size = lambda reply: int(reply[2]) if reply else 0  # noqa: E731
    return ScriptCall("jobs", arguments, parse, size=size, constants=constants(settings))


def _filter(wanted: Filter) -> dict[str, Any]:
    """Of all that a list may be narrowed by, its statuses apart."""
    return {
        "search": _spellings(wanted.search or "") or None,
        "model": wanted.model,
        "priority": wanted.priority,
        "since": wanted.since,
        "till": wanted.until,
        "pairs": " ".join(digests(wanted.metadata)) or None,
    }


def _spellings(search: str) -> str:
    """In lines, what a question may have: the store knows the case of ASCII alone, and no escape."""
    phrase = " ".join(search.translate(ESCAPED).split())
    spellings = (phrase.lower(), phrase.upper(), phrase.capitalize(), phrase.title())
    return "\n".join(dict.fromkeys(text.translate(ASCII_LOWER) for text in spellings if text))


def _readable(
    row: list[Any] | None, lanes: dict[str, Lane] | None = None, *, bare: bool = False
) -> JobView | None:
    """The store's reads decode no record: one that cannot be read is as if it were gone."""
    try:
        return views.job(row, lanes, bare=bare)
    except (ValueError, KeyError):
        return None


def statuses(
    caller: str, wanted: Filter = EVERYTHING, after: str | None = None
) -> ScriptCall[tuple[dict[str, Status], str | None]]:
    """Statuses by id of the next `LOOK` jobs, whichever statuses are wanted; and where the rest begins."""
    arguments = {"caller": caller, "after": after, "look": LOOK, **_filter(wanted)}

    def parse(reply: list[Any]) -> tuple[dict[str, Status], str | None]:
        return cast(dict[str, Status], views.pairs(reply[0])), reply[1] or None

    return ScriptCall("statuses", arguments, parse)


def follow(caller: str, job: str, after: int, *, first: bool = False) -> ScriptCall[views.EventPage | None]:
    """A page of the events behind id `after`; `first` = the run is marked as read where it has text."""
    arguments = {
        "caller": caller,
        "job": job,
        "after": after,
        "limit": EVENT_PAGE_LIMIT,
        "bytes": EVENT_PAGE_BYTES,
    }
    function = "follow_first" if first else "follow"
    return ScriptCall(function, arguments, lambda reply: views.event_page(reply, job, after))


def abandon(caller: str, job: str, keep_s: float) -> ScriptCall[int | None]:
    """The caller hung up: for `keep_s` the same call finds the job. Returns the moment, for `cancel`."""
    arguments = {"caller": caller, "job": job, "keep_s": math.ceil(keep_s)}
    return ScriptCall("abandon", arguments, lambda reply: reply)


def cancel(
    settings: Settings, caller: str, job: str, *, abandoned: int | None = None, line: bool = False
) -> ScriptCall[JobView | None]:
    """Leave the run; the last one to leave ends it. One that was `abandoned`: only where nobody came back.

    `line` as in `view`.
    """
    arguments = {"caller": caller, "job": job, "abandoned": abandoned, "line": line or None}
    return ScriptCall("cancel", arguments, views.job, size=views.answer_bytes, constants=constants(settings))


def purge(
    settings: Settings, caller: str, job: str, *, delivered: bool = False, abandoned: int | None = None
) -> ScriptCall[list[str] | None]:
    """Cancel a job if need be and forget it; returns the digests of pictures that nobody holds any more.

    `delivered` = the caller was told its end: then only a job that is not to be stored is forgotten, and only
    once its webhook was told too. `abandoned` as in `cancel`. None where there is nothing to forget.
    """
    arguments = {"caller": caller, "job": job, "delivered": delivered or None, "abandoned": abandoned}
    return ScriptCall("purge", arguments, lambda reply: reply, constants=constants(settings))


def purged(caller: str, job: str) -> ScriptCall[bool]:
    """Whether a job that does not exist was deleted within the last minute."""
    return read(("EXISTS", f"purged:{caller}:{job}"), bool)


def asked(caller: str, job: str) -> ScriptCall[JobRequest | None]:
    """What a job asked; None where the caller has no such job."""

    def parse(reply: list[Any] | None) -> JobRequest | None:
        if not reply:
            return None
        status, request, metadata, priority, paths, unstored = reply
        named = json.loads(paths or "{}")
        return JobRequest(
            status or None, request or None, json.loads(metadata), priority, named, stored=not unstored
        )

    return ScriptCall("asked", {"caller": caller, "job": job}, parse)


def lane(settings: Settings, name: str) -> ScriptCall[Lane]:
    """What is known of one model's workers and line."""
    return ScriptCall("lane", {"lane": name}, views.lane, constants=constants(settings))
