"""Writes a batch's answers in order: rows in pieces as lines end, and the pieces joined into files at last.

A piece is written, under its digest, before the step that counts its lines: a process that dies between the
two leaves a piece that no record names, and the next process writes the same lines again."""

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile

from api.batches.intake import TURN_S
from api.batches.lease import LeasedBatch
from api.batches.line_endpoints import answer_of
from api.batches.lines import BatchLine, file_lines, lost_lines, page_lines, some
from api.dialects.openai.batches import OutputRow, to_failed_row, to_row
from shared import ids
from shared.batch import LineFailures, LinePlace, Tokens, WrittenRows
from shared.blobs import Staged, digest
from shared.file import Written
from shared.job import JobView
from shared.json_line import to_json
from shared.metrics.api_counters import BATCH_LINES
from shared.result import JobError, Usage
from shared.store import batches, jobs

log = logging.getLogger("api.batches")
AT_ONCE, MOST_BYTES = 64, 2 * 2**20
"""Lines whose rows are written in one step: so many, of so many bytes with their answers."""
CANCELLED = JobError(
    code="batch_cancelled", message="The batch was cancelled before this request was executed."
)
EXPIRED = JobError(
    code="batch_expired",
    message="This request could not be executed before the completion window expired.",
)
LOST = JobError(code="file_not_found", message="The bytes of the batch's file are no longer kept.")
DELETED = JobError(code="job_cancelled", message="The job of this line was deleted.")
UNWRITTEN = JobError(code="internal_error", message="The answer of this line could not be written down.")


@dataclass(frozen=True)
class EndedLine:
    """A line, and its job or why it became none; None where nobody took it, or its job is gone."""

    line: BatchLine
    end: JobView | JobError | None

    @property
    def job(self) -> JobView | None:
        return self.end if isinstance(self.end, JobView) else None


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
    """Writes rows of one batch, in the order of its lines. `closing` says why others are not done, if so."""

    def __init__(self, lease: LeasedBatch, closing: JobError | None) -> None:
        self._lease = lease
        self._context = lease.context
        self._closing = closing

    async def write(self) -> int:
        """Write the next lines, up to the first that has not ended; returns how many.

        Lines of a closed batch are ended here. Raises LeaseLostError, Unavailable, BlobMissingError.
        """
        count, until = 0, time.monotonic() + TURN_S
        async with self._lines() as lines:
            while True:
                ended, more = await self._ended(lines)
                if ended:
                    rows = await self._context.blobs.in_thread(self._rows, ended)
                    await self._count(rows, ended)
                    count += len(ended)
                if not more or time.monotonic() >= until:
                    return count

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[Iterator[BatchLine]]:
        batch = self._lease.batch
        if batch.question is not None or batch.gone:
            yield self._taken(page_lines(batch, batch.written) if batch.question else lost_lines(batch))
            return
        async with self._lease.opened() as file:
            limit = self._context.line_limit
            yield self._taken(file_lines(batch, file, batch.written_at, batch.written, limit))

    def _taken(self, lines: Iterator[BatchLine]) -> Iterator[BatchLine]:
        row = self._lease.batch.row
        return takewhile(lambda line: self._closing is not None or line.number <= row, lines)

    async def _ended(self, lines: Iterator[BatchLine]) -> tuple[list[EndedLine], bool]:
        """The next lines, up to the first that has not ended, and whether more may follow."""
        found, size = list[EndedLine](), 0
        while len(found) < AT_ONCE and size < MOST_BYTES:
            looked_at = await asyncio.to_thread(some, lines, lambda line: line.size)
            ended = await self._look(looked_at) if looked_at else []
            found += ended
            size += sum(one.line.size + (one.job.bytes if one.job else 0) for one in ended)
            if not looked_at or len(ended) < len(looked_at):
                return found, False
        return found, True

    async def _look(self, lines: Sequence[BatchLine]) -> list[EndedLine]:
        """How these lines ended, up to the first that has not."""
        known = await self._lease.read(batches.known(self._lease.lease, [line.number for line in lines]))
        ends = await asyncio.gather(*(self._end(line.number, known.get(line.number)) for line in lines))
        ended = [EndedLine(line, end) for line, end in zip(lines, ends, strict=True)]
        return list(takewhile(lambda one: one.job is None or one.job.ended, ended))

    async def _end(self, number: int, known: JobError | None) -> JobView | JobError | None:
        return known or await self.job(number)

    async def job(self, number: int) -> JobView | None:
        """The job of a line, which ends here where the batch is closed."""
        batch, settings = self._lease.batch, self._context.settings
        call = jobs.view if self._closing is None else jobs.cancel
        id = ids.line_job_id(batch.id, number)
        return await self._context.store.run(call(settings, batch.caller, id, line=True))

    async def _count(self, rows: OutputRows, ended: Sequence[EndedLine]) -> None:
        lease, last = self._lease, ended[-1].line
        wrote = WrittenRows(
            numbers=tuple(one.line.number for one in ended),
            behind=last.behind,
            completed=len(rows.good),
            failed=len(rows.bad),
            late=rows.late,
            tokens=rows.tokens,
            good=await self._piece(rows.good),
            bad=await self._piece(rows.bad),
            failures=tuple(rows.failures.values()),
            jobs=tuple(one.job.id for one in ended if one.job) if lease.line_till else (),
        )
        await lease.write(batches.write(lease.lease, lease.batch, wrote))
        lease.batch = replace(
            lease.batch,
            written=last.number,
            written_at=last.behind,
            completed=lease.batch.completed + wrote.completed,
            failed=lease.batch.failed + wrote.failed,
        )
        BATCH_LINES.labels("completed").inc(wrote.completed)
        BATCH_LINES.labels("failed").inc(wrote.failed)

    async def _piece(self, rows: Sequence[bytes]) -> str | None:
        if not rows:
            return None
        data = b"".join(rows)
        name = digest(data)
        await self._context.storing.write(self._lease.lease.token, {name: data})
        return name

    async def finish(self) -> None:
        """Join the pieces and end the batch. Raises LeaseLostError, Unavailable, BlobMissingError."""
        good, bad = await self._lease.read(batches.pieces(self._lease.lease))
        output, error = await self._file("output", good), await self._file("error", bad)
        lease = self._lease
        call = batches.end(self._context.settings, lease.lease, lease.batch, output=output, error=error)
        await lease.write(call)

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
            name=f"{self._lease.batch.id}_{kind}.jsonl",
            purpose="batch_output",
            size=staged.size,
            digest=staged.digest,
            life_s=self._lease.batch.life_s,
            holder=f"upload:{id}",
        )

    def _join(self, staged: Staged, pieces: Sequence[str]) -> None:
        for name in pieces:
            with self._context.blobs.open(name) as piece:
                shutil.copyfileobj(piece, staged)

    def _rows(self, ended: Sequence[EndedLine]) -> OutputRows:
        rows = OutputRows()
        for one in ended:
            result = one.job.result if one.job else None
            if one.job and result is not None and (row := self._row(one, one.job)):
                rows.good.append(row)
                rows.add(result.usage)
                continue
            error = self._error(one)
            undone = error in (CANCELLED, EXPIRED, LOST)
            rows.fail(_line(to_failed_row(self._place(one), error, undone=undone)), error)
        return rows

    def _row(self, one: EndedLine, job: JobView) -> bytes | None:
        batch, entry = self._lease.batch, one.line.entry
        try:
            answer = answer_of(batch, job, lambda: entry.body if entry else None)
            return _line(to_row(self._place(one), answer))
        except Exception:
            # The outermost frame of a row: one line that cannot be written must not hold up all others.
            log.exception("line %d of batch %s cannot be written down", one.line.number, batch.id)
        return None

    def _place(self, one: EndedLine) -> LinePlace:
        job = one.job.id if one.job else None
        return LinePlace(self._lease.batch.id, one.line.number, one.line.custom_id, job)

    def _error(self, one: EndedLine) -> JobError:
        """Why a line failed. The window is its job's deadline too, so it ends though no process works on it.

        A deadline that passes on a batch being cancelled is reported as the cancellation.
        """
        job = one.job
        if isinstance(one.end, JobError):
            return one.end
        if job is None:
            return self._closing or DELETED
        if job.error is not None:
            return (self._closing or EXPIRED) if job.error.code == "deadline_exceeded" else job.error
        if job.result is not None:
            return LOST if self._lease.batch.gone else UNWRITTEN
        if job.status == "succeeded":
            return JobError(code="result_expired", message="The answer of this line was lost.")
        message = "The job of this line was cancelled."
        return self._closing or JobError(code="job_cancelled", message=message)


def _line(row: OutputRow) -> bytes:
    return to_json(row) + b"\n"
