"""Writes the answers of a batch: rows in pieces as lines end, and the pieces joined into files at the end.

A piece is written, under its digest, before the step that counts its lines: a process that dies between the
two leaves a piece that no record names, and the next process writes the same lines again."""

import asyncio
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, BinaryIO

from api.batches.intake import TURN_S, entry_of, lines
from api.batches.lease import LeasedBatch
from api.batches.line_endpoints import answer_of
from api.batches.pages import untaken_pages
from api.dialects.openai.batches import OutputRow, from_line, to_refused_row, to_row, to_undone_row
from shared import ids
from shared.batch import LineAnswer, LineFailures, Tokens, UntakenLines, WrittenRows
from shared.blobs import BlobMissingError, Staged, digest
from shared.errors import Unavailable
from shared.file import Written
from shared.job import JobView
from shared.json_line import to_json
from shared.metrics.counters import BATCH_LINES
from shared.result import JobError, Result, Usage
from shared.store import batches

log = logging.getLogger("api.batches")
AT_ONCE = 64
"""Lines whose answers are in memory at the same time."""
CANCELLED = JobError(
    code="batch_cancelled", message="The batch was cancelled before this request was executed."
)
EXPIRED = JobError(
    code="batch_expired",
    message="This request could not be executed before the completion window expired.",
)
LOST = JobError(code="file_not_found", message="The bytes of the batch's file are no longer kept.")
UNWRITTEN = JobError(code="internal_error", message="The answer of this line could not be written down.")


@dataclass
class OutputRows:
    """OutputRows of the output and error files, and what they add to the batch's counts."""

    good: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    late: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    failures: dict[str, LineFailures] = field(default_factory=dict)

    def fail(self, row: bytes, why: JobError) -> None:
        self.bad.append(row)
        self.late += why == EXPIRED
        before = self.failures.get(why.code, LineFailures(why.code, 0, why.message))
        self.failures[why.code] = replace(before, count=before.count + 1)

    def add(self, usage: Usage) -> None:
        self.tokens = Tokens(
            self.tokens.input + usage.prompt_tokens,
            self.tokens.output + usage.completion_tokens,
            self.tokens.cached + usage.cached_tokens,
            self.tokens.reasoning + usage.reasoning_tokens,
        )


class OutputWriter:
    """Writes the ended lines of one batch. `closing` says why the others will not be done, if so."""

    def __init__(self, lease: LeasedBatch, closing: JobError | None) -> None:
        self._lease = lease
        self._context = lease.context
        self._batch = lease.turn.batch
        self._closing = closing

    async def write(self) -> int:
        """Write all lines that have ended; returns how many. Raises LeaseLostError, Unavailable."""
        count = 0
        turn = self._lease.turn
        while ended := await self._lease.read(batches.ended(turn, AT_ONCE)):
            answered = await self._lease.read(batches.answers(turn, ended))
            rows = await self._context.blobs.in_thread(self._rows, answered)
            await self._count(rows, tuple(line.number for line in answered))
            count += len(answered)
        return count

    async def refuse(self, answers: Sequence[LineAnswer], why: JobError) -> None:
        """Write the file's next lines as refused, for `why`. Raises LeaseLostError, Unavailable."""
        rows = OutputRows()
        for line in answers:
            rows.fail(_line(to_undone_row(self._batch.id, line, why)), why)
        await self._count(rows, undone=UntakenLines(answers[0].at, answers[-1].behind, answers[-1].number))
        BATCH_LINES.labels("refused").inc(len(answers))

    async def _count(
        self, rows: OutputRows, numbers: tuple[int, ...] = (), undone: UntakenLines | None = None
    ) -> None:
        wrote = WrittenRows(
            numbers=numbers,
            completed=len(rows.good),
            failed=len(rows.bad),
            late=rows.late,
            tokens=rows.tokens,
            good=await self._piece(rows.good),
            bad=await self._piece(rows.bad),
            undone=undone,
            failures=tuple(rows.failures.values()),
        )
        await self._lease.write(batches.wrote(self._lease.turn, wrote))
        BATCH_LINES.labels("completed").inc(wrote.completed)
        BATCH_LINES.labels("failed").inc(wrote.failed)

    async def _piece(self, rows: Sequence[bytes]) -> str | None:
        """Write rows as a piece; returns its name."""
        if not rows:
            return None
        data = b"".join(rows)
        name = digest(data)
        await self._context.storing.write(self._lease.turn.token, {name: data})
        return name

    async def finish(self) -> None:
        """Join the pieces and end the batch. Raises LeaseLostError, Unavailable, BlobMissingError."""
        good, bad = await self._lease.read(batches.pieces(self._lease.turn))
        output, error = await self._file("output", good), await self._file("error", bad)
        await self._lease.write(
            batches.end(self._context.settings, self._lease.turn, output=output, error=error)
        )

    async def _file(self, kind: str, pieces: Sequence[str]) -> Written | None:
        if not pieces:
            return None
        id, staged = ids.file_id(), await self._context.blobs.in_thread(self._context.blobs.stage)
        try:
            await self._context.blobs.in_thread(self._join, staged, pieces)
            await self._context.storing.adopt(id, staged)
        finally:
            await self._context.blobs.in_thread(staged.discard)
        return Written(
            id=id,
            name=f"{self._batch.id}_{kind}.jsonl",
            purpose="batch_output",
            size=staged.size,
            digest=staged.digest,
            life_s=self._batch.life_s,
            holder=f"upload:{id}",
        )

    def _join(self, staged: Staged, pieces: Sequence[str]) -> None:
        for name in pieces:
            with self._context.blobs.open(name) as piece:
                shutil.copyfileobj(piece, staged)

    def _rows(self, answered: Sequence[LineAnswer]) -> OutputRows:
        rows, answers = OutputRows(), self._answers(answered)
        for line in answered:
            if line.result is not None and line.number in answers:
                rows.good.append(answers[line.number])
                rows.add(line.result.usage)
                continue
            error = self._error(line)
            shape = to_undone_row if error in (CANCELLED, EXPIRED, LOST) else to_refused_row
            rows.fail(_line(shape(self._batch.id, line, error)), error)
        return rows

    def _answers(self, answered: Sequence[LineAnswer]) -> dict[int, bytes]:
        """OutputRows by line number, without those that cannot be written.

        The file is opened once and read forwards: each read from a bucket fetches a megabyte. Where it is
        missing, pieces should not be written either.
        """
        answers: dict[int, bytes] = {}
        with ExitStack() as opened:
            file = None if self._batch.gone else opened.enter_context(self._lease.open())
            for line in sorted(answered, key=lambda line: line.at):
                if line.result is not None and (row := self._row(line, line.result, file)):
                    answers[line.number] = row
        return answers

    def _row(self, line: LineAnswer, result: Result, file: BinaryIO | None) -> bytes | None:
        try:
            return _line(to_row(self._batch.id, line, self._answer(line, result, file)))
        except Unavailable:
            raise
        except BlobMissingError:
            if not self._batch.gone:
                raise
        except Exception:
            # The outermost frame of a row: one line that cannot be written must not hold up all others.
            log.exception("line %d of batch %s cannot be written down", line.number, self._batch.id)
        return None

    def _answer(self, line: LineAnswer, result: Result, file: BinaryIO | None) -> Any:
        view = JobView(
            id=line.job or "",
            caller=self._batch.caller,
            model=line.model,
            status="succeeded",
            created_ms=line.created_ms,
            ended_ms=line.ended_ms,
            result=result,
            priority="batch",
        )
        return answer_of(self._batch, view, lambda: self._body(line, file))

    def _body(self, line: LineAnswer, file: BinaryIO | None) -> Any:
        """The line's body, read from the file after the blank lines that belong to it."""
        if file is None:
            raise BlobMissingError(self._batch.digest)
        text = next(lines(file, line.at, line.number - 1, line.behind - line.at))
        return from_line(text.raw or b"", line.number, self._batch.endpoint).body

    def _error(self, line: LineAnswer) -> JobError:
        """Why a line failed. The window is its job's deadline too, so it ends though no process works on it.

        A deadline that passes on a batch being cancelled is reported as the cancellation.
        """
        if line.error is not None:
            return (self._closing or EXPIRED) if line.error.code == "deadline_exceeded" else line.error
        if line.result is not None:
            return LOST if self._batch.gone else UNWRITTEN
        if line.status == "succeeded":
            return JobError(code="result_expired", message="The answer of this line was lost.")
        message = "The job of this line was cancelled."
        return self._closing or JobError(code="job_cancelled", message=message)


def _line(row: OutputRow) -> bytes:
    return to_json(row) + b"\n"


# Writes the lines of a closed batch that were never taken into its error file, some thousand a turn.

UNTAKEN_AT_ONCE = 1000
"""Lines that are written in one step."""


class BatchCloser:
    """Refuses the lines of one batch that were not taken, and says why. One instance per turn."""

    def __init__(self, lease: LeasedBatch, writing: OutputWriter, why: JobError) -> None:
        self._lease = lease
        self._batch = lease.turn.batch
        self._writing = writing
        self._why = why

    async def refuse(self) -> None:
        """Write the next lines, as many as there is time for, and at least one if any is left.

        Raises LeaseLostError, Unavailable, BlobMissingError.
        """
        if self._batch.gone or self._batch.question is not None:
            lines = self._unread() if self._batch.question is None else untaken_pages(self._batch)
            await self._write_turn(lines)
            return
        async with self._lease.opened() as file:
            await self._write_turn(self._read(file))

    async def _write_turn(self, undone: Iterator[LineAnswer]) -> None:
        until = time.monotonic() + TURN_S
        while untaken := await asyncio.to_thread(_some, undone, until):
            await self._writing.refuse(untaken, self._why)
            if time.monotonic() >= until:
                break

    def _read(self, file: BinaryIO) -> Iterator[LineAnswer]:
        batch, limit = self._batch, self._lease.context.line_limit
        for line in lines(file, batch.at, batch.row, limit):
            custom_id = entry_of(line, batch.endpoint, limit).custom_id
            yield LineAnswer(line.number, custom_id, "refused", at=line.at, behind=line.behind)

    def _unread(self) -> Iterator[LineAnswer]:
        """The next lines where the file is gone: as many as are left, each as if it had one byte."""
        batch = self._batch
        count = (batch.total or 0) - batch.completed - batch.failed - self._lease.turn.under_way
        for number in range(1, count + 1):
            behind = batch.at + number if number < count else batch.last or 0
            yield LineAnswer(batch.row + number, None, "refused", at=batch.at + number - 1, behind=behind)


def _some(undone: Iterator[LineAnswer], until: float) -> list[LineAnswer]:
    answers = []
    for line in islice(undone, UNTAKEN_AT_ONCE):
        answers.append(line)
        if time.monotonic() >= until:
            break
    return answers
