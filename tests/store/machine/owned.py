"""What callers own beside jobs, in plain Python: files, and batches with their lines."""

from dataclasses import dataclass, field
from typing import Any

from shared.batch import Stage
from shared.store.batches import LEASE_S, WINDOW
from shared.store.files import HOLD_S

MAX_QUEUED, MAX_QUEUED_CALLER = 24, 12
SHARE = 4
"""Batches have a quarter of a line."""
LIFE_S, JOB_S = 10_028, 50_068
"""Of files and of what a batch leaves."""
LINE = 10
"""Bytes of a line."""
OPEN = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(eq=False)
class OwnedFile:
    id: str
    caller: str
    purpose: str
    digest: str
    till: int


@dataclass(eq=False)
class OwnedBatch:
    """`lines` have the job of each, or nothing where it was refused; `answered` those that have ended."""

    id: str
    caller: str
    digest: str
    expires: int
    due: int
    stage: Stage = "validating"
    token: str = ""
    total: int | None = None
    row: int = 0
    lines: dict[int, str] = field(default_factory=dict)
    answered: dict[int, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    waits: bool = False
    till: int | None = None

    @property
    def open(self) -> bool:
        return self.stage in OPEN

    @property
    def done(self) -> bool:
        """Whether all its lines are written down."""
        return self.row == self.total and not self.lines

    def move(self, row: int) -> None:
        self.row, self.waits = row, False


class Storage:
    """Files, and batches with their lines. `lines` are those of open jobs: batch and number by job."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.files: dict[str, OwnedFile] = {}
        self.gone: dict[str, str] = {}
        self.batches: dict[str, OwnedBatch] = {}
        self.uploads: dict[tuple[str, str], int] = {}
        self.turns: dict[str, int] = {}
        self.lines: dict[str, tuple[OwnedBatch, int]] = {}

    def forget(self) -> None:
        """What was kept for a time is gone after it."""
        self.files = {id: one for id, one in self.files.items() if one.till > self.now}
        self.batches = {i: b for i, b in self.batches.items() if b.till is None or b.till > self.now}
        self.uploads = {k: till for k, till in self.uploads.items() if till > self.now}

    def holds(self) -> dict[str, set[str]]:
        """Who holds each digest now."""
        found: dict[str, set[str]] = {}
        pairs = [(one.digest, one.id) for one in self.files.values()]
        pairs += [(digest, f"upload:{upload}") for digest, upload in self.uploads]
        pairs += [(d, b.id) for b in self.batches.values() if b.open for d in (b.digest, *b.pieces)]
        for digest, holder in pairs:
            found.setdefault(digest, set()).add(holder)
        return found

    def touch(self, digest: str, upload: str) -> list[str]:
        self.uploads[digest, upload] = self.now + HOLD_S * 1000
        return []

    def keep(self, one: OwnedFile, upload: str) -> str:
        if one.id not in self.files:
            self.files[one.id] = one
            self.uploads.pop((one.digest, upload), None)
        return one.id

    def delete(self, id: str, caller: str) -> list[str] | None:
        """The digest that nobody needs any more; None where the caller has no such file."""
        one = self.files.get(id)
        if one and one.caller == caller:
            self.gone[id] = self.files.pop(id).digest
        elif one or id not in self.gone:
            return None
        return [] if self.gone[id] in self.holds() else [self.gone[id]]

    def begin(self, batch: OwnedBatch, file: str) -> str:
        if batch.id in self.batches:
            return "created"
        one = self.files.get(file)
        if one is None or one.caller != batch.caller:
            return "missing"
        if one.purpose != "batch":
            return "purpose"
        batch.digest, self.batches[batch.id] = one.digest, batch
        return "created"

    def cancel(self, batch: OwnedBatch) -> str:
        if batch.stage in ("validating", "in_progress"):
            batch.stage = "cancelling"
            if not batch.token:
                batch.due = self.now
        return batch.stage

    def take(self, token: str) -> Any:
        """Callers take turns, and then the batches of each: {id, under way, answered, room}."""
        waiting = sorted((b for b in self.batches.values() if b.open), key=lambda b: (b.due, b.id))
        due = [batch for batch in waiting if batch.due <= self.now]
        if not due:
            return (waiting[0].due - self.now) / 1000 if waiting else None
        batch = min(due, key=lambda b: self.turns.get(b.caller, 0))
        self.turns[batch.caller] = max(self.turns.values(), default=0) + 1
        batch.token, batch.due = token, self.now + round(LEASE_S * 1000)
        blocked = batch.waits and self.share_taken(batch.caller)
        room = 0 if blocked else WINDOW - len(batch.lines)
        return batch.id, len(batch.lines), len(batch.answered), room

    def share_taken(self, caller: str) -> str | None:
        if len(self.lines) >= MAX_QUEUED // SHARE:
            return "full"
        own = sum(1 for batch, _ in self.lines.values() if batch.caller == caller)
        return "crowded" if own >= MAX_QUEUED_CALLER // SHARE else None

    def submit(self, batch: OwnedBatch, at: int, job: str) -> str:
        """A line becomes a job."""
        if job in self.lines:
            return "known"
        if batch.stage != "in_progress" or at != batch.row * LINE or self.now >= batch.expires:
            return "passed"
        if word := self.share_taken(batch.caller):
            batch.waits = True
            return word
        batch.move(batch.row + 1)
        batch.lines[batch.row] = job
        self.lines[job] = batch, batch.row
        return "queued"

    def end_line(self, job: str, status: str) -> None:
        batch, number = self.lines.pop(job)
        if number in batch.lines:
            batch.answered[number] = status

    def step(self, batch: OwnedBatch, token: str, *, fresh: bool, seconds: float = LEASE_S) -> str | None:
        """Why nothing is done by a process that holds `token`; `fresh` = it was not done before."""
        if batch.token != token:
            return "lost"
        if fresh:
            batch.due = self.now + round(seconds * 1000)
        return None if fresh else "written"

    def advance(self, batch: OwnedBatch) -> str:
        """The stage after a step."""
        if batch.stage == "validating" and batch.total is not None:
            batch.stage = "in_progress"
        elif batch.stage == "in_progress" and batch.done:
            batch.stage = "finalizing"
        return "written"

    def end(self, batch: OwnedBatch, token: str, stage: Stage) -> str:
        if batch.token != token or (stage != "failed" and not batch.done):
            return "lost"
        batch.stage, batch.token, batch.till = stage, "", self.now + JOB_S * 1000
        batch.lines, batch.answered, batch.pieces = {}, {}, []
        return "written"
