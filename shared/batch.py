"""A batch as its caller sees it: a file of requests that are computed as ordinary jobs.

validating ──► in_progress ──► finalizing ──► completed | expired
    │  │            │
    │  └► cancelling ◄┘ ──► cancelled
    └► failed
"""

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal[
    "validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "expired", "cancelled"
]
ENDED: tuple[Stage, ...] = ("completed", "failed", "expired", "cancelled")
MOST_LINES = 50_000
WINDOW_S = 86_400
"""`completion_window`: the only one there is is 24h."""


@dataclass(frozen=True)
class LineProblem:
    """What is wrong with a line (counted from 1), or with the whole file (None)."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True)
class LineFailures:
    """How many lines failed with this code, and the first one's message."""

    code: str
    count: int
    message: str


@dataclass(frozen=True)
class Tokens:
    """Token counts of all answers together."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Batch:
    """A batch's record; times in Unix ms. `stages_ms` says when it came to each stage after the first.

    `total` is None until its lines were counted. `row` is the number of the last line that was taken, `at`
    the byte behind it; `written` and `written_at` are those of the last line whose row is written. `last` is
    the byte behind the last line of the file. `model` is that of the job taken last. `failures` has the
    `failed` lines by reason; `late` of them were not done when the window closed. `max_queued` and
    `retain_s` are those of the API key that made it; `wrote_ms` is when rows were written last, `missing_ms`
    since when its bytes are missing; they are `gone` where given up.
    With a `question` (the canonical request, JSON) the lines are the `pages` of a document, its file; `hook`
    says that it has a webhook of its own. `now_ms` is when the record was read.
    """

    id: str
    caller: str
    stage: Stage
    file: str
    digest: str
    endpoint: str
    created_ms: int
    expires_ms: int
    life_s: int
    metadata: dict[str, str]
    stages_ms: dict[str, int]
    max_queued: int | None = None
    retain_s: int | None = None
    at: int = 0
    row: int = 0
    written: int = 0
    written_at: int = 0
    model: str | None = None
    last: int | None = None
    total: int | None = None
    completed: int = 0
    failed: int = 0
    late: int = 0
    wrote_ms: int | None = None
    tokens: Tokens = Tokens()
    errors: tuple[LineProblem, ...] = ()
    failures: tuple[LineFailures, ...] = ()
    output: str | None = None
    error: str | None = None
    missing_ms: int | None = None
    gone: bool = False
    question: str | None = None
    pages: str | None = None
    hook: bool = False
    now_ms: int | None = field(default=None, compare=False)

    @property
    def untaken(self) -> int:
        """Lines that are still to become jobs."""
        return max((self.page_count or self.total or 0) - self.row, 0)

    @property
    def page_count(self) -> int:
        """The pages that are asked about; 0 of a file's batch."""
        return self.pages.count(",") + 1 if self.pages else 0


@dataclass(frozen=True)
class LinePlace:
    """A line of a batch by its number from 1, and its job, where it became one."""

    batch: str
    number: int
    custom_id: str | None
    job: str | None


@dataclass(frozen=True)
class WrittenRows:
    """Lines whose rows were written in one step, the file's next ones, and the digests of the written pieces.

    The last one ends before the byte `behind`. The answers of `jobs` are kept no longer for the batch.
    """

    numbers: tuple[int, ...]
    behind: int
    completed: int
    failed: int
    late: int
    tokens: Tokens
    good: str | None = None
    bad: str | None = None
    failures: tuple[LineFailures, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchLease:
    """A batch, by its id, that this process has claimed under `token`."""

    id: str
    token: str
