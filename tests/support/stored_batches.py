"""A batch in the record store, by one short verb per transition."""

from dataclasses import replace
from typing import Any

from shared.batch import Batch, BatchLease, LineAnswer, LinePosition, Tokens, WrittenRows
from shared.file import Written
from shared.result import JobError
from shared.store import batches, files
from tests.support.store import Records

BYTES, GOOD, BAD = "d" * 64, "a" * 64, "b" * 64
FILE, BATCH = "file-" + "1" * 32, "batch_" + "2" * 32
LINE = 10
"""Bytes of a line."""
REFUSAL = JobError(code="invalid_request", message="No.")


def upload(records: Records, **changes: Any) -> None:
    written = Written(FILE, "a.jsonl", "batch", 100, BYTES, 3600, "upload:1")
    records.run(files.create(replace(written, **changes), "anyone"))


def create(records: Records, caller: str = "anyone", **changes: Any) -> tuple[str, Batch | None]:
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
    return records.run(batches.create(records.settings, replace(plain, **changes)))


def take(records: Records) -> BatchLease:
    turn = records.run(batches.take(records.settings, records.token()))
    assert isinstance(turn, BatchLease)
    return turn


def begun(records: Records, total: int = 3, **said: Any) -> BatchLease:
    """A batch of so many lines whose file was looked through."""
    upload(records)
    create(records)
    turn = take(records)
    assert records.run(batches.begin(turn, total=total, last=total * LINE, **said)) == "written"
    return turn


def place(number: int, batch: str = BATCH) -> LinePosition:
    return LinePosition(batch, number, (number - 1) * LINE, number * LINE, f"line {number}")


def submit(records: Records, number: int, question: str = "", **changes: Any) -> str:
    """Take a line; its job, or the word that refused it."""
    submitted = records.post(records.placing(question, **changes), line=place(number), quiet=True)
    return submitted.word if submitted.view is None else submitted.view.id


def answered(records: Records, turn: BatchLease) -> list[LineAnswer] | None:
    """How some lines have ended; None where the batch is another process's."""
    ended = records.run(batches.ended(turn, 64))
    return records.run(batches.answers(turn, ended)) if ended else None if ended is None else []


def write(records: Records, turn: BatchLease, **said: Any) -> str:
    """Write down all that has ended, as good lines."""
    found = answered(records, turn)
    assert found
    numbers = tuple(line.number for line in found)
    plain = WrittenRows(numbers, len(numbers), 0, 0, Tokens(9, 3, 1), good=GOOD)
    return records.run(batches.wrote(turn, replace(plain, **said)))


def now(records: Records) -> Batch:
    found = records.run(batches.batch("anyone", BATCH))
    assert found is not None
    return found


def end(records: Records, turn: BatchLease) -> str:
    output = Written("file-" + "9" * 32, "out.jsonl", "batch_output", 5, "c" * 64, 3600, "upload:9")
    known = records.run(batches.batch(turn.batch.caller, turn.batch.id))
    assert known is not None
    return records.run(batches.end(records.settings, replace(turn, batch=known), output=output, error=None))
