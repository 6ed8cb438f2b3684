"""Takes a batch's lines: each becomes a job of its caller, or is refused as a call of its own would be."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from api.admission.submission import LinePassedError, Terms
from api.batches.doors import DOORS, Question
from api.batches.leased_batch import LeasedBatch
from api.batches.lines import Line, double, entry_of, lines
from shared.batch import Place
from shared.errors import CallerError, ModelFailed, ServiceError, Unavailable
from shared.metrics.requests import LINES
from shared.result import JobError
from shared.store import batches
from shared.times import Times


@dataclass(frozen=True)
class ReadLine:
    """A line as its endpoint read it: what it asks, or why it is refused."""

    place: Place
    question: Question | JobError


class Taking:
    """Takes the lines after those already taken. One instance per turn."""

    def __init__(self, held: LeasedBatch) -> None:
        self._held = held
        self._context = held.context
        self._batch = held.turn.batch

    async def take(self) -> int:
        """Take as many lines as there is room for and admission lets in; returns how many.

        Raises LeaseLostError, Unavailable `store_unavailable`, BlobMissingError.
        """
        if not await self._has_room():
            return 0
        taken = 0
        async with self._held.opened() as file:
            asked = self._asked(file)
            while taken < self._held.turn.room and (line := await asyncio.to_thread(next, asked, None)):
                if not await self._admitted(line):
                    break
                taken += 1
        return taken

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
        else:
            LINES.labels("taken").inc()
        return True

    async def _refuse(self, line: ReadLine, error: JobError) -> None:
        await self._held.write(batches.refuse(self._held.turn, line.place, error))
        LINES.labels("refused").inc()

    def _terms(self, line: ReadLine, question: Question) -> Terms:
        """A line's job may wait for as long as the batch's window is open, and no longer."""
        batch = self._batch
        return Terms(
            caller=batch.caller,
            metadata=question.metadata,
            response=question.response,
            priority="batch",
            times=Times(start_by=batch.expires_ms, finish_by=batch.expires_ms),
            max_queued=batch.max_queued,
            retain_s=batch.retain_s,
            line=line.place,
        )

    def _asked(self, file: BinaryIO) -> Iterator[ReadLine]:
        batch, limit = self._batch, self._context.line_limit
        read = DOORS[batch.endpoint].read
        for line in lines(file, batch.at, batch.row, limit):
            entry = entry_of(line, batch.endpoint, limit)
            problem = entry.problem
            if problem is None and line.number in self._held.turn.doubles:
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

    def _place(self, line: Line, custom_id: str | None) -> Place:
        return Place(self._batch.id, line.number, line.at, line.behind, custom_id or "")


def _failure(error: ServiceError) -> JobError:
    return JobError(code=error.code, message=error.message, param=error.param)
