"""Which of a caller's jobs a list shows, and a page of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.job import JobView, Priority, Status


@dataclass(frozen=True)
class Filter:
    """What all jobs of a list are; None leaves it open.

    They were created at `since` (Unix ms) or later and before `until`, and have each pair of `metadata`.
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

    A page may be short, or empty, and have a `next`: only so many jobs are looked at for one, and it has
    only so many `bytes` of records.
    """

    views: tuple[JobView, ...]
    next: str | None = None
    bytes: int = 0
