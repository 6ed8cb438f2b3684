"""A job as its caller sees it: what was asked, and where its run stands.

    queued ──claim──► running ──settle──► succeeded | failed
      │                  │
      └────cancel────────┴──────────────► cancelled

Once started, the public status stays `running` until the end, also while a rescued run waits again:
a status never goes backwards."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.result import JobError, Result
from shared.value_object import value_object

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
WaitingReason = Literal["fetching_inputs", "model_loading", "no_worker", "busy", "paused", "retrying"]
CacheWord = Literal["HIT", "MISS", "COALESCED", "BYPASS"]
Priority = Literal["interactive", "normal", "batch"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
LEAP = 10_000
"""Ids of events rise by so much more where the store may have lost some (`functions/events.lua`)."""


@value_object
class Estimate:
    """Seconds until the job begins, half and nine tenths of the time, and how long it then takes to its end.

    It begins as a worker claims it; `service_s` has its wait for a row there. `basis` says what they rest on.
    """

    p50: float
    p90: float
    service_s: float
    basis: str


@value_object
class AttemptError:
    code: str
    message: str


@value_object
class Attempt:
    """One try at running a job's run; times in Unix ms.

    `outcome` is None while it goes on, and where it went on for other jobs when this one left its run.
    `error` says why it failed where another attempt may not.
    """

    number: int
    worker: str
    started_ms: int
    ended_ms: int | None = None
    outcome: str | None = None
    error: AttemptError | None = None


GONE = 410


@dataclass(frozen=True)
class Delivery:
    """One try at calling a webhook, begun at `at_ms`.

    `status` is None where no answer came, `error` says why the try does not count as delivered. `attempt` is
    the number of the try in its delivery: a replay begins another one.
    """

    event: str
    at_ms: int
    took_ms: int
    status: int | None = None
    error: str | None = None
    attempt: int = 1

    @property
    def taken(self) -> bool:
        return self.error is None

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more calls."""
        return self.status == GONE


@dataclass(frozen=True)
class Hook:
    """A job's webhook as its caller sees it, without its secret; `delivered_ms` is when it took the end,
    `next_ms` when the next try is due, where one failed.
    """

    url: str
    events: tuple[str, ...]
    deliveries: tuple[Delivery, ...] = ()
    delivered_ms: int | None = None
    next_ms: int | None = None


@value_object
class Computed:
    """The run whose answer a job has; times in Unix ms, None where the store does not know them.

    `job` is the job that the run was begun for, None where that is another caller's.
    """

    run: str
    job: str | None = None
    queued_ms: int | None = None
    started_ms: int | None = None
    first_text_ms: int | None = None
    ended_ms: int | None = None
    attempts: int | None = None


@value_object
class Question:
    """The beginning of what a job asked last, in one line, and how many pictures it has."""

    text: str
    pictures: int = 0


@value_object
class JobRequest:
    """What a job asked: `request` (JSON) is None where it is no longer kept, `status` until the job's end.

    `stored` is false where nothing of the job is to be kept.
    """

    status: Status | None
    request: str | None
    metadata: dict[str, str]
    priority: Priority
    paths: dict[str, str]
    stored: bool = True


@value_object
class JobView:
    """One consistent read of a job and its run; times in Unix ms.

    `run_id` is None while inputs are fetched. `cache` is None until the job is admitted. `last_event` is the
    id of the newest event its stream holds. `model_failed` is why the model that it waits for cannot be
    loaded, while that is so. `priority` and `metadata` are the caller's own, `retry_of` is the job that this
    one retries, `batch` the one that it is a line of, `response` (JSON) what it shows as one of OpenAI's
    responses. A job that is not `stored` is forgotten once its caller has read its end. `question` is None
    where it is no longer kept, or nothing is to be; `answer` is the beginning of an answer whose `result`
    was not read, or of what a stopped job published. `bytes` is the size of its record.
    """

    id: str
    caller: str
    model: str
    status: Status
    created_ms: int
    run_id: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    waiting_reason: WaitingReason | None = None
    model_failed: str | None = None
    ahead: int | None = None
    estimate: Estimate | None = None
    attempts: tuple[Attempt, ...] = ()
    cache: CacheWord | None = None
    request_hash: str | None = None
    result: Result | None = None
    computed: Computed | None = None
    error: JobError | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    priority: Priority = "normal"
    finish_by_ms: int | None = None
    retry_of: str | None = None
    batch: str | None = None
    response: str | None = None
    stored: bool = True
    last_event: int = 0
    bytes: int = field(default=0, compare=False)
    hook: Hook | None = None
    question: Question | None = None
    answer: str | None = None

    @property
    def recorded_id(self) -> str | None:
        """The id under which its caller finds it, if any."""
        return self.id

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def expired(self) -> bool:
        """Whether it has succeeded with a result that is no longer kept."""
        return self.status == "succeeded" and self.result is None


@dataclass(frozen=True)
class Event:
    """One entry of a job's stream. Ids increase by one from 1, by more where some were taken back unread or
    may be lost (`LEAP`), and never repeat.

    `text` events carry `{"start": offset in code points, "text": str, "ids": [token ids]}`, `logprobs` (see
    `shared.result`) if asked for, and `choice` where there are several answers; the first of each has
    `prompt_tokens`. `queued`, `running` `{"attempt": n}` and `requeued` `{"reason": str}` say where the run
    stands; the last event is `succeeded`, `failed` `{"code", "message", ...}` or `cancelled`.
    """

    id: int
    type: str
    data: dict[str, Any]
    at_ms: int

    @property
    def last(self) -> bool:
        return self.type in ENDED


# Which of a caller's jobs a list shows, and a page of it.


@dataclass(frozen=True)
class Filter:
    """What the jobs of a list have in common; None leaves a field open.

    They were created at `since` (Unix ms) or later and before `until`, and have every pair of `metadata` and
    one of the `statuses`. `search` is in their question's beginning, or begins their id.
    """

    statuses: Collection[Status] = ()
    search: str | None = None
    model: str | None = None
    priority: Priority | None = None
    since: int | None = None
    until: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


EVERYTHING = Filter()
UNSEARCHED = '"\\/'
"""To a search these stand as spaces: JSON escapes them, and questions are searched as JSON."""


@dataclass(frozen=True)
class Page:
    """Jobs, newest first. `next` is where the following page begins, None where there is nothing more.

    A page may be short or even empty and still have a `next`: the jobs looked at for one page are limited,
    and so are its `bytes` of records.
    """

    views: tuple[JobView, ...]
    next: str | None = None
    bytes: int = 0
