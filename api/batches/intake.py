"""Takes a batch's lines: each becomes a job of its caller, or is refused as a call of its own would be."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import BinaryIO, Literal

from api.admission.submission import Origin, Terms
from api.auth.callers import Caller
from api.batches.lease import LeasedBatch
from api.batches.line_endpoints import LINE_ENDPOINTS, Question
from api.batches.lines import BatchLine, double, file_lines, page_lines, some
from api.dialects.openai.batches import Entry
from shared import ids
from shared.batch import Batch
from shared.errors import CallerError, InternalError, ModelFailed, ServiceError, Unavailable
from shared.media.documents import DocumentRenderer, OpenDocument, with_page
from shared.metrics.api_counters import BATCH_LINES
from shared.request import Request
from shared.result import JobError
from shared.store import batches

log = logging.getLogger("api.batches")
WINDOW = 1024
"""Lines of one batch that are taken and have no row yet: behind one that takes long so many are computed."""
TURN_S = 1.0
"""How long a turn may keep other batches waiting."""
Asked = tuple[BatchLine, Question | JobError]
Ask = Callable[[BatchLine], Question | JobError]


class PageQuestions:
    """What is asked of each page. `close` it, from any thread: a process keeps the document open."""

    def __init__(self, renderer: DocumentRenderer, batch: Batch, file: BinaryIO) -> None:
        self._renderer, self._file = renderer, file
        self._request = Request.model_validate_json(batch.question or "")
        self._stack = ExitStack()
        self._document: OpenDocument | None = None
        # A thread that nobody waits for may still render.
        self._lock, self._closed = threading.Lock(), False

    def about(self, page: int) -> Question | JobError:
        with self._lock:
            try:
                pictures = tuple(self._opened().page(page))
            except CallerError as error:
                self._file.seek(0)
                return JobError(code=error.code, message=error.message, param=error.param)
            return Question(with_page(self._request, pictures), {})

    def _opened(self) -> OpenDocument:
        if self._closed:
            raise CallerError("invalid_document", "The document is closed.")
        if self._document is None:
            opened = self._renderer.opened(self._file.read(), "document")
            self._document = self._stack.enter_context(opened)
        return self._document

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stack.close()


class LineIntake:
    """Takes the lines behind those already taken. One instance per turn."""

    def __init__(self, lease: LeasedBatch) -> None:
        self._lease = lease
        self._context = lease.context

    async def take(self) -> int:
        """Take as many lines as there is room for and admission lets in; returns how many.

        Raises LeaseLostError, Unavailable `store_unavailable`, BlobMissingError.
        """
        batch = self._lease.batch
        if batch.row - batch.written >= WINDOW or batch.at == batch.last or not await self._has_room():
            return 0
        count, began, until = 0, time.monotonic(), math.inf
        async with self._lines() as (lines, ask):
            while time.monotonic() < until and self._lease.batch.row - batch.written < WINDOW:
                asked = await asyncio.to_thread(_asked, lines, ask)
                taken = await self._take(asked)
                count += taken
                if not asked or taken < len(asked):
                    break
                # A page may take seconds, and other batches wait; but each turn opens the document anew.
                now = time.monotonic()
                until = min(until, now + max(TURN_S, now - began))
        return count

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[tuple[Iterator[BatchLine], Ask]]:
        batch = self._lease.batch
        async with self._lease.opened() as file:
            if batch.question is None:
                limit = self._context.line_limit
                twice = await self._lease.read(batches.doubles(self._lease.lease, batch, WINDOW))
                yield file_lines(batch, file, batch.at, batch.row, limit), self._reader(twice)
                return
            pages = PageQuestions(self._context.renderer, batch, file)
            try:
                yield page_lines(batch, batch.row), lambda line: pages.about(int(line.custom_id or 0))
            finally:
                await asyncio.shield(asyncio.to_thread(pages.close))

    async def _has_room(self) -> bool:
        """Whether the record store takes more from this caller. Raises Unavailable `store_unavailable`.

        Checked before the file is opened, which costs two requests to an object store.
        """
        try:
            await self._context.submission.check_room(self._lease.batch.caller)
        except Unavailable as error:
            if error.code == "store_unavailable":
                raise
            return False
        return True

    async def _take(self, asked: list[Asked]) -> int:
        """Take some lines, one after the other, up to the first that has to wait; returns how many."""
        outcomes: list[JobError | None] = []
        for one in asked:
            outcome = await self._admit(*one)
            if outcome == "waits":
                break
            outcomes.append(outcome)
        if outcomes:
            await self._move(asked[: len(outcomes)], outcomes)
        return len(outcomes)

    async def _move(self, asked: list[Asked], outcomes: list[JobError | None]) -> None:
        """Record which lines were taken. Who dies before loses nothing: the jobs have the lines' ids."""
        refused = {line.number: why for (line, _), why in zip(asked, outcomes, strict=True) if why}
        models = [question.request.model for _, question in asked if isinstance(question, Question)]
        lease, last = self._lease, asked[-1][0]
        batch = replace(
            lease.batch, row=last.number, at=last.behind, model=models[-1] if models else lease.batch.model
        )
        await lease.write(batches.take(lease.lease, lease.batch, batch, refused))
        lease.batch = batch
        BATCH_LINES.labels("taken").inc(len(asked) - len(refused))
        BATCH_LINES.labels("refused").inc(len(refused))

    async def _admit(
        self, line: BatchLine, question: Question | JobError
    ) -> JobError | Literal["waits"] | None:
        """Take one line; "waits" where it has to, an error where it becomes no job."""
        if isinstance(question, JobError):
            return question
        try:
            await self._context.submission.submit(question.request, self._terms(line, question))
        except ModelFailed:
            # The line waits, as it does without a worker: the supervisor restarts one that failed to load.
            return "waits"
        except Unavailable as error:
            if error.code == "store_unavailable":
                raise
            return "waits"
        except ServiceError as error:
            # The batch's window is over by the store's clock: a line has no deadlines of its own.
            return "waits" if error.param == "finish_by" else _failure(error)
        except Exception:
            # The outermost frame of a line: one that makes us fail would hold up all that follow.
            log.exception("batch %s: line %d cannot be taken", self._lease.batch.id, line.number)
            return _failure(InternalError())
        return None

    def _terms(self, line: BatchLine, question: Question) -> Terms:
        """A line's job may wait for as long as the batch's window is open, and no longer."""
        batch = self._lease.batch
        job = ids.line_job_id(batch.id, line.number)
        return Terms(
            caller=Caller(batch.caller, batch.max_queued, batch.retain_s),
            priority="batch",
            finish_by_ms=batch.expires_ms,
            origin=Origin(
                line=job, line_till=self._lease.line_till, batch=batch.id, response=question.response
            ),
            metadata=question.metadata,
        )

    def _reader(self, twice: frozenset[int]) -> Ask:
        read = LINE_ENDPOINTS[self._lease.batch.endpoint].read

        def ask(line: BatchLine) -> Question | JobError:
            entry = line.entry or Entry(None, None)
            problem = entry.problem
            if problem is None and line.number in twice:
                problem = double(entry, line.number)
            if problem is not None:
                return JobError(code=problem.code, message=problem.message, param=problem.param)
            try:
                return read(entry.body)
            except CallerError as error:
                return _failure(error)

        return ask


def _asked(lines: Iterator[BatchLine], ask: Ask) -> list[Asked]:
    """The next lines, and what they ask: read in a thread."""
    return some(((line, ask(line)) for line in lines), lambda asked: asked[0].size)


def _failure(error: ServiceError) -> JobError:
    return JobError(code=error.code, message=error.message, param=error.param)
