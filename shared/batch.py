"""A batch as its caller sees it: a file of requests that are computed as ordinary jobs.

validating ──► in_progress ──► finalizing ──► completed | expired
    │  │            │
    │  └► cancelling ◄┘ ──► cancelled
    └► failed
"""

from dataclasses import dataclass, field
from typing import Literal

from shared.result import JobError, Result

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

    `total` is None until its lines were counted. `at` is the byte behind the last line that was taken and
    `row` that line's number, `last` the byte behind the last line of the file. `model` is that of the job
    taken last. `failures` has the `failed` lines by reason; `late` of them were not done when the window
    closed. `max_queued` and `retain_s` are those of the API key that made it; `wrote_ms` is when lines were
    written down last, `missing_ms` since when its bytes are missing; they are `gone` where given up.
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
class LinePosition:
    """A line's place in its batch: its number from 1, the bytes it begins `at` and ends `behind`."""

    batch: str
    number: int
    at: int
    behind: int
    custom_id: str


@dataclass(frozen=True)
class LineAnswer:
    """How a line ended. A line without a `job` was refused as it was taken.

    The line stands in the file's bytes from `at` to `behind`. Times in Unix ms.
    """

    number: int
    custom_id: str | None
    status: Literal["succeeded", "failed", "cancelled", "refused"]
    job: str | None = None
    model: str = ""
    created_ms: int = 0
    ended_ms: int = 0
    at: int = 0
    behind: int = 0
    result: Result | None = None
    error: JobError | None = None


@dataclass(frozen=True)
class UntakenLines:
    """Lines that are not taken any more: the bytes from `at` to `behind`; `row` is the last one's number."""

    at: int
    behind: int
    row: int


@dataclass(frozen=True)
class WrittenRows:
    """Lines that were written down in one step, and the digests of the written pieces.

    They are the lines of `numbers`, or the file's next lines, which are `undone`.
    """

    numbers: tuple[int, ...]
    completed: int
    failed: int
    late: int
    tokens: Tokens
    good: str | None = None
    bad: str | None = None
    undone: UntakenLines | None = None
    failures: tuple[LineFailures, ...] = ()


@dataclass(frozen=True)
class BatchLease:
    """A batch that this process works on now, under `token`.

    `doubles` are numbers of lines to come whose custom_id an earlier line has. `under_way` counts lines taken
    and not yet written down, `answered` those of them that have ended, `room` the lines that may be
    taken now.
    """

    batch: Batch
    token: str
    doubles: frozenset[int]
    under_way: int
    answered: int
    room: int
    now_ms: int
