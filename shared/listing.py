"""Which of a caller's jobs a list shows, and a page of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.job import JobView, Priority, Status


@dataclass(frozen=True)
class Filter:
    """What the jobs of a list have in common; None leaves a field open.

    They were created at `since` (Unix ms) or later and before `until`, and have every pair of `metadata`.
    """

    status: Status | None = None
    model: str | None = None
    priority: Priority | None = None
    since: int | None = None
    until: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


EVERYTHING = Filter()


@dataclass(frozen=True)
class Page:
    """Jobs, newest first. `next` is where the following page begins, None where there is nothing more.

    A page may be short or even empty and still have a `next`: the jobs looked at for one page are limited,
    and so are its `bytes` of records.
    """

    views: tuple[JobView, ...]
    next: str | None = None
    bytes: int = 0
