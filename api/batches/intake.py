"""Takes a batch's lines: each becomes a job of its caller, or is refused as a call of its own would be."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from api.admission.submission import LinePassedError, Origin, Schedule, Terms
from api.auth.callers import Caller
from api.batches.lease import LeasedBatch
from api.batches.line_endpoints import LINE_ENDPOINTS, Question, ReadLine
from api.batches.pages import PageLines
from api.dialects.openai.batches import Entry, from_line
from shared.batch import MOST_LINES, LinePosition, LineProblem
from shared.errors import CallerError, InternalError, ModelFailed, ServiceError, Unavailable
from shared.job import Times
from shared.metrics.counters import BATCH_LINES
from shared.result import JobError
from shared.store import batches

# Reads the lines of a batch's input file one at a time: of its 200 MB only the current line is in memory.

log = logging.getLogger("api.batches")
MOST_TOLD = 100
"""Problems of a file that the batch lists; each bad line is in the error file as well."""
TURN_S = 1.0
"""How long a turn may keep other batches waiting."""


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number from 1, and the byte offsets `at` its start and `behind` its end.

    Blank lines before it belong to it. `raw` is None for a line longer than a body may be.
    """

    number: int
    at: int
    behind: int
    raw: bytes | None


@dataclass(frozen=True)
class Scan:
    """What a scan of a whole file found; `last` is the byte offset after its last line.

    `fatal` says that no line of it can be taken; `doubles` are the numbers of lines that repeat an earlier
    line's custom_id, `problems` the first that were found.
    """

    total: int
    last: int
    doubles: tuple[int, ...]
    problems: tuple[LineProblem, ...]
    fatal: bool


def lines(file: BinaryIO, at: int, row: int, limit: int) -> Iterator[Line]:
    """The lines from the byte offset `at` on, which is where line `row` ended; `limit` in bytes."""
    file.seek(at)
    behind = at
    while raw := file.readline(limit + 1):
        row += 1
        behind += len(raw)
        too_long = len(raw) > limit and not raw.endswith(b"\n")
        if not too_long and not raw.strip():
            continue
        content = None if too_long else raw
        while not raw.endswith(b"\n") and (more := file.readline(limit + 1)):
            behind += len(more)
            raw = more
        yield Line(row, at, behind, content)
        at = behind


def entry_of(line: Line, endpoint: str, limit: int) -> Entry:
    if line.raw is None:
        message = f"Line {line.number} is longer than {limit} bytes (SIGHTLINE_API__BODY_LIMIT_MB)."
        return Entry(None, None, LineProblem("payload_too_large", message, line.number))
    return from_line(line.raw, line.number, endpoint)


def double(entry: Entry, number: int) -> LineProblem:
    message = f"Line {number}: `custom_id` {entry.custom_id!r} stands in an earlier line."
    return LineProblem("duplicate_custom_id", message, number, "custom_id")


def scan(file: BinaryIO, endpoint: str, limit: int) -> Scan:
    """Scan a file from its beginning. Takes some seconds for the largest."""
    custom_ids: set[str] = set()
    doubles: list[int] = []
    problems: list[LineProblem] = []
    total = last = bad = 0
    for line in lines(file, 0, 0, limit):
        total, last = total + 1, line.behind
        if total > MOST_LINES:
            message = f"The file has more than {MOST_LINES} lines."
            return Scan(0, last, (), (LineProblem("too_many_tasks", message),), fatal=True)
        entry = entry_of(line, endpoint, limit)
        problem = entry.problem
        if problem is None and entry.custom_id in custom_ids:
            problem = double(entry, line.number)
            doubles.append(line.number)
        if entry.custom_id is not None:
            custom_ids.add(entry.custom_id)
        if problem is not None:
            bad += 1
            if len(problems) < MOST_TOLD:
                problems.append(problem)
    if not total:
        problems = [LineProblem("empty_file", "The file has no lines.")]
    return Scan(total, last, tuple(doubles), tuple(problems), fatal=bad == total)


class LineIntake:
    """Takes the lines after those already taken. One instance per turn."""

    def __init__(self, lease: LeasedBatch) -> None:
        self._lease = lease
        self._context = lease.context
        self._batch = lease.turn.batch

    async def take(self) -> int:
        """Take as many lines as there is room for and admission lets in; returns how many.

        Raises LeaseLostError, Unavailable `store_unavailable`, BlobMissingError.
        """
        if not await self._has_room():
            return 0
        count, began, until = 0, time.monotonic(), math.inf
        async with self._lease.opened() as file, self._lines(file) as requests:
            while (
                count < self._lease.turn.room
                and time.monotonic() < until
                and (line := await asyncio.to_thread(next, requests, None))
                and await self._admitted(line)
            ):
                count += 1
                # A page may take seconds, and other batches wait; but each turn opens the document anew.
                now = time.monotonic()
                until = min(until, now + max(TURN_S, now - began))
        return count

    @asynccontextmanager
    async def _lines(self, file: BinaryIO) -> AsyncIterator[Iterator[ReadLine]]:
        if self._batch.question is None:
            yield self._batch_lines(file)
            return
        pages = PageLines(self._context.renderer, self._batch, file)
        try:
            yield pages
        finally:
            await asyncio.shield(asyncio.to_thread(pages.close))

    async def _has_room(self) -> bool:
        """Whether the record store takes more from this caller. Raises Unavailable `store_unavailable`.

        Checked before the file is opened, which costs two requests to an object store.
        """
        try:
            await self._context.submission.check_room(self._batch.caller)
        except Unavailable as error:
            if error.code == "store_unavailable":
                raise
            return False
        return True

    async def _admitted(self, line: ReadLine) -> bool:
        """Take one line; False where it has to wait, or the batch takes no more."""
        if isinstance(line.question, JobError):
            await self._refuse(line, line.question)
            return True
        try:
            await self._context.submission.submit(line.question.request, self._terms(line, line.question))
        except (LinePassedError, ModelFailed):
            # The line waits, as it does without a worker: the supervisor restarts one that failed to load.
            return False
        except Unavailable as error:
            if error.code == "store_unavailable":
                raise
            return False
        except ServiceError as error:
            # The batch's window is over by the store's clock: a line has no deadlines of its own.
            if error.param in ("start_by", "finish_by"):
                return False
            await self._refuse(line, _failure(error))
        except Exception:
            # A line that makes us fail would hold up all that follow.
            log.exception("batch %s: line %d cannot be taken", self._batch.id, line.place.number)
            await self._refuse(line, _failure(InternalError()))
        else:
            BATCH_LINES.labels("taken").inc()
        return True

    async def _refuse(self, line: ReadLine, error: JobError) -> None:
        await self._lease.write(batches.refuse(self._lease.turn, line.place, error))
        BATCH_LINES.labels("refused").inc()

    def _terms(self, line: ReadLine, question: Question) -> Terms:
        """A line's job may wait for as long as the batch's window is open, and no longer."""
        batch = self._batch
        times = Times(start_by=batch.expires_ms, finish_by=batch.expires_ms)
        return Terms(
            caller=Caller(batch.caller, batch.max_queued, batch.retain_s),
            schedule=Schedule("batch", times),
            origin=Origin(batch_line=line.place, response=question.response),
            metadata=question.metadata,
        )

    def _batch_lines(self, file: BinaryIO) -> Iterator[ReadLine]:
        batch, limit = self._batch, self._context.line_limit
        read = LINE_ENDPOINTS[batch.endpoint].read
        for line in lines(file, batch.at, batch.row, limit):
            entry = entry_of(line, batch.endpoint, limit)
            problem = entry.problem
            if problem is None and line.number in self._lease.turn.doubles:
                problem = double(entry, line.number)
            if problem is not None:
                error = JobError(code=problem.code, message=problem.message, param=problem.param)
                yield ReadLine(self._place(line, entry.custom_id), error)
                continue
            try:
                question: Question | JobError = read(entry.body)
            except CallerError as error:
                question = _failure(error)
            yield ReadLine(self._place(line, entry.custom_id), question)

    def _place(self, line: Line, custom_id: str | None) -> LinePosition:
        return LinePosition(self._batch.id, line.number, line.at, line.behind, custom_id or "")


def _failure(error: ServiceError) -> JobError:
    return JobError(code=error.code, message=error.message, param=error.param)
