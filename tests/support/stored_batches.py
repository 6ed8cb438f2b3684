"""A batch in the record store, by one short verb per transition."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from shared import ids
from shared.batch import Batch, BatchLease, Tokens, WrittenRows
from shared.file import Written
from shared.result import JobError
from shared.store import batches, claims, files
from shared.store.keys import BATCH as LANE
from shared.store.keys import PREFIX
from shared.webhooks import Webhook
from tests.support.store import Records

BYTES, GOOD, BAD = "d" * 64, "a" * 64, "b" * 64
FILE, BATCH = "file-" + "1" * 32, "batch_" + "2" * 32
LINE = 10
"""Bytes of a line."""
TERMS = {"max_queued_caller", "pending_terms", "retain_s"}
REFUSAL = JobError(code="invalid_request", message="No.")


def upload(records: Records, **changes: Any) -> None:
    written = Written(FILE, "a.jsonl", "batch", 100, BYTES, 3600, "upload:1")
    records.run(files.create(replace(written, **changes), "anyone"))


def create(
    records: Records, caller: str = "anyone", hook: Webhook | None = None, **changes: Any
) -> tuple[str, Batch | None]:
    plain = Batch(
        id=BATCH,
        caller=caller,
        stage="validating",
        file=FILE,
        digest="",
        endpoint="/v1/chat/completions",
        created_ms=0,
        expires_ms=0,
        life_s=3600,
        metadata={"k": "v"},
        stages_ms={},
    )
    return records.run(batches.create(records.settings, replace(plain, **changes), hook=hook))


def try_take(records: Records, process: str = "api", token: str = "") -> BatchLease | None:
    token = token or records.token()
    claim = records.run(
        claims.claim(records.settings, lane=LANE, worker=process, token=token, fingerprint="")
    )
    return BatchLease(claim.id, claim.token) if claim else None


def take(records: Records) -> BatchLease:
    lease = try_take(records)
    assert lease is not None
    return lease


def leave(records: Records, lease: BatchLease, seconds: float = 0) -> str:
    return records.run(batches.give_back(records.settings, lease, seconds))


def lose(records: Records) -> None:
    """The process that has the batch is silent for too long."""
    records.client.zadd(f"{PREFIX}lease:{LANE}", {BATCH: 0}, xx=True)
    assert records.rescue() == [(BATCH, LANE)]


def begun(records: Records, total: int = 3, **said: Any) -> BatchLease:
    """A batch of so many lines whose file was looked through."""
    upload(records)
    create(records)
    turn = take(records)
    assert records.run(batches.begin(turn, total=total, last=total * LINE, **said)) == "written"
    return turn


def submit(
    records: Records, number: int, question: str = "", batch: str = BATCH, line: int = 0, **changes: Any
) -> str:
    """Take a line; its job, or the word that refused it."""
    terms = {name: changes.pop(name) for name in TERMS & changes.keys()}
    job = ids.line_job_id(batch, number)
    placing = records.placing(question, **{"job": job, "priority": "batch"} | changes)
    submitted = records.post(placing, line=line, batch=batch, **terms)
    return submitted.word if submitted.view is None else submitted.view.id


def move(
    records: Records, lease: BatchLease, row: int, refused: Mapping[int, JobError] = MappingProxyType({})
) -> str:
    """Record that lines are taken."""
    before = now(records)
    return records.run(batches.take(lease, before, replace(before, row=row, at=row * LINE), refused))


def write(records: Records, lease: BatchLease, *numbers: int, **said: Any) -> str:
    """Write rows of the next lines, as good ones."""
    plain = WrittenRows(numbers, numbers[-1] * LINE, len(numbers), 0, 0, Tokens(9, 3, 1), good=GOOD)
    return records.run(batches.write(lease, now(records), replace(plain, **said)))


def now(records: Records) -> Batch:
    found = records.run(batches.batch("anyone", BATCH))
    assert found is not None
    return found


def end(records: Records, turn: BatchLease) -> str:
    output = Written("file-" + "9" * 32, "out.jsonl", "batch_output", 5, "c" * 64, 3600, "upload:9")
    return records.run(batches.end(records.settings, turn, now(records), output=output, error=None))
