"""Jobs and the work done for them, as plain values."""

from dataclasses import dataclass, field, replace
from typing import Any

from shared.job import Attempt, CacheWord, Priority
from shared.result import JobError, Result
from shared.store.keys import INTAKE

CLASSES: tuple[Priority, ...] = ("interactive", "normal", "batch")
SUSPECT_DEATHS = 2


@dataclass(eq=False)
class Work:
    """What waits in a lane and is leased: a run, or a job whose inputs are fetched.

    `live` are the jobs that wait for it, `asked` the classes of all that did, `holders` the ids of all that
    may read it; `kept` is until when its record stays after its end, and `needed_ms` for how long from its
    end webhooks read it, which have it until `needed`. `generation` is how often its model had been removed
    when it was taken in. Its text is `unread` until a caller is given some of it.
    """

    id: str
    lane: str
    caller: str
    blobs: tuple[str, ...]
    request: str
    terms: str = ""
    cost: int = 1
    rows: int = 1
    generation: int = 0
    key: str | None = None
    live: list["Job"] = field(default_factory=list)
    asked: list[Priority] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)
    state: str = "queued"
    arrival: int = 0
    queued_at: int = 0
    due: int = 0
    token: str = ""
    worker: str = ""
    expires: int = 0
    failures: int = 0
    deaths: int = 0
    deaths_alone: int = 0
    charged: bool = False
    company: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    text: str = ""
    unread: bool = False
    fingerprint: str | None = None
    mixed: bool = False
    result: Result | None = None
    ended: int = 0
    kept: int = 0
    needed_ms: int = 0
    needed: int = 0
    retain_ms: int | None = None
    stored: bool = True

    @property
    def is_run(self) -> bool:
        return self.lane != INTAKE

    @property
    def over(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")

    @property
    def priority(self) -> Priority:
        """The highest of all jobs that waited for it."""
        return min(self.asked, key=CLASSES.index)

    @property
    def suspect(self) -> bool:
        return self.deaths >= SUSPECT_DEATHS

    @property
    def started(self) -> bool:
        return self.is_run and bool(self.attempts)

    def tell(self, kind: str, **data: Any) -> None:
        if self.is_run:
            self.events.append((kind, data))

    def unsay(self) -> None:
        """No reader has its text, nor what is behind it, but the last; no number is given again."""
        first = next(at for at, (kind, _) in enumerate(self.events) if kind == "text")
        last = len(self.events) - (self.events[-1][0] != "text")
        self.events[first:last] = [("unsaid", {})] * (last - first)
        self.text, self.unread = "", False

    def close_attempt(self, outcome: str, now: int) -> None:
        if self.attempts and self.attempts[-1].ended_ms is None:
            self.attempts[-1] = replace(self.attempts[-1], ended_ms=now, outcome=outcome)


@dataclass(eq=False)
class Job:
    """`intake` while it has no run, `blobs` what it held then; `status` is empty until its end.

    `fetches` are the attempts at its inputs, where it ended without them; `joined_at` is when it joined a run
    that was there already.

    `last` is the newest run event that its stream replays. `hook` is its webhook's host. Its record is kept
    for a time from `kept_from` on, `retain_ms` where it has a time of its own. What is `unstored` stands in
    no list.
    """

    id: str
    caller: str
    priority: Priority
    created: int
    blobs: tuple[str, ...] = ()
    finish_by: int | None = None
    intake: Work | None = None
    fetches: list[Attempt] = field(default_factory=list)
    run: Work | None = None
    joined_at: int = 0
    admitted_by: str = ""
    cache: CacheWord | None = None
    status: str = ""
    ended: int = 0
    last: int = 0
    own: bool = False
    error: JobError | None = None
    hook: str | None = None
    unstored: bool = False
    retain_ms: int | None = None
    idempotency: str | None = None
    kept_from: int = 0

    @property
    def work(self) -> Work | None:
        return self.run or self.intake
