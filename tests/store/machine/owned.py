"""What callers own beside jobs, in plain Python: files, and batches with their lines."""

from dataclasses import dataclass, field

from shared.batch import Stage
from shared.store.files import HOLD_S

LEASE_S, MAX_DEATHS = 10**5, 3
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
    """`due` is when it may be taken, with a `token` until when its process has it; `deaths` counts processes
    that lost it since a turn came to its end.
    """

    id: str
    caller: str
    digest: str
    expires: int
    due: int
    stage: Stage = "validating"
    token: str = ""
    deaths: int = 0
    total: int | None = None
    row: int = 0
    written: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    till: int | None = None

    @property
    def open(self) -> bool:
        return self.stage in OPEN


class Storage:
    """Files, and batches over them."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.files: dict[str, OwnedFile] = {}
        self.gone: dict[str, str] = {}
        self.batches: dict[str, OwnedBatch] = {}
        self.uploads: dict[tuple[str, str], int] = {}

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

    def take(self, token: str, given: str | None) -> None:
        """What is right, where this one was given; whose turn it was is not looked at."""
        due = {b.id for b in self.batches.values() if b.open and not b.token and b.due <= self.now}
        assert given in due if due else given is None, f"{given} was given, though {due} are due"
        if given:
            self.batches[given].token, self.batches[given].due = token, self.now + LEASE_S * 1000

    def lose(self) -> set[str]:
        """Processes that were silent for too long lose their batches."""
        lost = [b for b in self.batches.values() if b.open and b.token and b.due <= self.now]
        for batch in lost:
            batch.token, batch.due, batch.deaths = "", self.now, batch.deaths + 1
            if batch.deaths == MAX_DEATHS:
                self.close(batch, "failed")
        return {batch.id for batch in lost}

    def leave(self, batch: OwnedBatch, token: str, seconds: int) -> str:
        if batch.token != token:
            return "lost"
        batch.token, batch.due, batch.deaths = "", self.now + seconds * 1000, 0
        return "written"

    def advance(self, batch: OwnedBatch) -> str:
        """The stage after a step."""
        if batch.stage == "validating" and batch.total is not None:
            batch.stage = "in_progress"
        elif batch.stage == "in_progress" and batch.written == batch.total:
            batch.stage = "finalizing"
        return "written"

    def end(self, batch: OwnedBatch, token: str, stage: Stage) -> str:
        if batch.token != token or (stage != "failed" and batch.written != batch.total):
            return "lost"
        self.close(batch, stage)
        return "written"

    def close(self, batch: OwnedBatch, stage: Stage) -> None:
        batch.stage, batch.token, batch.till = stage, "", self.now + JOB_S * 1000
        batch.refused, batch.pieces = {}, []
