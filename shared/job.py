"""A job as its caller sees it: what was asked, and where its run stands.

    queued ──claim──► running ──settle──► succeeded | failed
      │                  │
      └────cancel────────┴──────────────► cancelled

Once started, the public status stays `running` until the end, also while a rescued run waits again:
a status never goes backwards.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from shared.result import JobError, Result

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
WaitingReason = Literal[
    "fetching_inputs", "model_loading", "no_worker", "busy", "paused", "scheduled", "retrying"
]
CacheWord = Literal["HIT", "MISS", "COALESCED", "BYPASS"]
Priority = Literal["interactive", "normal", "batch"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
LEAP = 10_000
"""Ids of events rise by so much more where the store may have lost some (`scripts/includes/events.lua`)."""


@dataclass(frozen=True)
class Estimate:
    """Seconds until the job begins, half and nine tenths of the time, and how long it then takes to its end.

    It begins as a worker claims it; `service_s` has its wait for a row there. `basis` says what they rest on.
    """

    p50: float
    p90: float
    service_s: float
    basis: str


@dataclass(frozen=True)
class Attempt:
    """One try at running a job's run; times in Unix ms.

    `outcome` is None while it goes on, and where it went on for other jobs when this one left its run.
    """

    number: int
    worker: str
    started_ms: int
    ended_ms: int | None = None
    outcome: str | None = None


GONE = 410


@dataclass(frozen=True)
class Delivery:
    """One try at calling a webhook, begun at `at_ms`.

    `status` is None where no answer came, `error` says why the try does not count as delivered.
    """

    event: str
    at_ms: int
    took_ms: int
    status: int | None = None
    error: str | None = None

    @property
    def taken(self) -> bool:
        return self.error is None

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more calls."""
        return self.status == GONE


@dataclass(frozen=True)
class Hook:
    """A job's webhook as its caller sees it, without its secret; `delivered_ms` is when it took the end."""

    url: str
    events: tuple[str, ...]
    deliveries: tuple[Delivery, ...] = ()
    delivered_ms: int | None = None


@dataclass(frozen=True)
class Computed:
    """The run whose answer a job has; times in Unix ms, None where the store does not know them.

    `job` is the job that the run was begun for, None where that is another caller's. Where the answer was
    cached while the job waited, only the id of its `run` is known.
    """

    run: str
    job: str | None = None
    queued_ms: int | None = None
    started_ms: int | None = None
    first_text_ms: int | None = None
    ended_ms: int | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class JobView:
    """One consistent read of a job and its run; times in Unix ms.

    `run_id` is None while inputs are fetched. `cache` is None until the job is admitted. `last_event` is the
    id of the newest event its stream holds. `model_failed` is why the model that it waits for cannot be
    loaded, while that is so. `priority` and `metadata` are the caller's own, `retry_of` is the job that this
    one retries, `response` (JSON) what it shows as one of OpenAI's responses, None where it is none. A job
    that is not `stored` is forgotten once its end was told. `read_ms` is when the store was read, by its own
    clock, None where the job has ended. `bytes` is the size of its answer's record.
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
    start_by_ms: int | None = None
    finish_by_ms: int | None = None
    schedule_at_ms: int | None = None
    retry_of: str | None = None
    response: str | None = None
    stored: bool = True
    last_event: int = 0
    read_ms: int | None = field(default=None, compare=False)
    bytes: int = field(default=0, compare=False)
    hook: Hook | None = None

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
    `shared.logprobs`) if asked for, and `choice` where there are several answers; the first of each has
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
