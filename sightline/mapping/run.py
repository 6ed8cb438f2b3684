"""A map from its first row to its receipt; to be called from Python, too."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError
from sightline.mapping.caller import PASSING_CODES, Caller, connected
from sightline.mapping.journal import Failure, Journal, Record
from sightline.mapping.media import RowError
from sightline.mapping.output import KEY_BYTES, Receipt, check_output, check_replaced, write_output
from sightline.mapping.question import Question
from sightline.mapping.rows import Row, Source, journal_of, source
from sightline.mapping.tables import READ

UNASKABLE = (OSError, RowError, ValueError, MemoryError)
"""Why a row cannot be asked."""
TRIES = 3
"""How often a row is asked whose failure may pass: each time is a job of its own."""
LOOK_S, SYNC_S = 0.5, 15.0
"""Pauses between looks at the progress, and between syncs of the journal."""
WINDOW = 32
"""Rows in flight. With 128 others wait three times as long, and a map is no faster on two cores."""


@dataclass
class Progress:
    """`kept` of the rows `done` were in the journal at the start."""

    total: int
    done: int = 0
    failed: int = 0
    kept: int = 0
    waits: str = ""


Show = Callable[[Progress], object]


@dataclass
class _Map:
    """One run over all rows. `keys` has those of all rows in their order: 32 bytes each."""

    question: Question
    caller: Caller
    journal: Journal
    progress: Progress
    keys: bytearray = field(default_factory=bytearray)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))

    async def run(self, source: Source) -> None:
        """Raises CommandError where no further row can be answered; what has ended is in the journal."""
        rows = source.rows()
        try:
            async with asyncio.TaskGroup() as group:
                while some := await asyncio.to_thread(lambda: list(islice(rows, READ))):
                    for row in some:
                        await self.places.acquire()
                        at = len(self.keys)
                        self.keys += bytes(KEY_BYTES)
                        group.create_task(self._row(row, at))
        except ExceptionGroup as group:
            expected, others = group.split((CommandError, OSError))
            if expected is None or others is not None:
                raise
            raise expected.exceptions[0] from None

    async def _row(self, row: Row, at: int) -> None:
        try:
            key = await asyncio.to_thread(self._key, row)
            self.keys[at : at + KEY_BYTES] = bytes.fromhex(key)
            if self.journal.done(key):
                self.progress.kept += 1
            else:
                await self._ask(row, key)
            self.progress.done += 1
            self.progress.failed += self.journal.failed(key)
        finally:
            self.places.release()

    def _key(self, row: Row) -> str:
        try:
            return self.question.key(row)
        except UNASKABLE as failure:
            # It may be readable at the next start, and then has another key.
            return self.question.key_of_failure(row, str(failure))

    async def _ask(self, row: Row, key: str) -> None:
        first, rows = self.journal.tries(key), self.progress.total
        for attempt in range(first, first + TRIES):
            # A failed job stays the answer to its key, so another try has another.
            try:
                job = await self.caller.answer(partial(self.question.body, row, rows), f"{key}-{attempt}")
            except UNASKABLE as failure:
                # A file that cannot be read now may be later; what is wrong with its bytes stays so.
                code = failure.code if isinstance(failure, RowError) else "unreadable"
                self.journal.add(key, _failed(row, code, why(failure), code == "unreadable"))
                return
            self.journal.add(key, self._record(row, job, attempt + 1))
            if self.journal.done(key):
                return

    def _record(self, row: Row, job: dict[str, Any], tries: int) -> Record:
        if job.get("status") != "succeeded":
            error = job.get("error") or {"code": "cancelled", "message": "The job was cancelled."}
            passes = error.get("retryable", False) or error["code"] in PASSING_CODES
            return _failed(row, error["code"], error["message"], passes, job.get("id"), tries)
        answer = job["result"]["text"]
        values = self.question.values(answer)
        if values is None:
            message = "The answer reached its longest length before it was whole: allow more tokens."
            return {**_failed(row, "answer_cut_off", message, False, job["id"], tries), "answer": answer}
        ended = Record(columns=row.columns, job=job["id"], error=None, tries=tries)
        return {**ended, "answer": answer, "values": values}

    async def watch(self, show: Show) -> None:
        """Until cancelled: shows the progress, syncs the journal."""
        synced = time.monotonic()
        while True:
            if time.monotonic() - synced >= SYNC_S:
                synced = time.monotonic()
                await asyncio.to_thread(self.journal.sync)
            # Rows are not lost because nobody reads of them any more.
            with suppress(OSError):
                show(self.progress)
            await asyncio.sleep(LOOK_S)


def why(failure: Exception) -> str:
    """Say why a row cannot be asked, without its path: the row's name says which it is."""
    return str(getattr(failure, "strerror", None) or failure)[:500]


def _failed(
    row: Row, code: str, message: str, retryable: bool, job: str | None = None, tries: int = 1
) -> Record:
    failure = Failure(code=code, message=message, retryable=retryable)
    return {"columns": row.columns, "job": job, "error": failure, "tries": tries}


async def map_rows(
    question: str,
    input: str,
    output: str | Path,
    *,
    model: str | None = None,
    schema: dict[str, Any] | None = None,
    max_tokens: int | None = None,
    column: str | None = None,
    url: str | None = None,
    key: str | None = None,
    show: Show = lambda _: None,
) -> Receipt:
    """Ask the question about each row of `input`, and write the answers to `output`.

    Called again with the same arguments it goes on where it stopped. Raises CommandError.
    """
    path = Path(output)
    check_output(path)
    rows = await asyncio.to_thread(source, input, column)
    async with connected(url, key) as clients:
        caller = Caller(clients)
        template = Question(question, model or await caller.model(), schema, max_tokens)
        check_replaced(path, input, template)
        template.check(await asyncio.to_thread(rows.columns))
        with Journal(journal_of(path), template.digest) as journal:
            mapped = _Map(template, caller, journal, Progress(await asyncio.to_thread(rows.count)))
            caller.answered = journal.answered
            caller.say = lambda why: setattr(mapped.progress, "waits", why)
            await _watched(mapped, rows, show)
            return await asyncio.to_thread(write_output, path, mapped.keys, journal, template, rows.left_out)


async def _watched(mapped: _Map, rows: Source, show: Show) -> None:
    watching = asyncio.create_task(mapped.watch(show))
    try:
        await mapped.run(rows)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    with suppress(OSError):
        show(mapped.progress)


def map_rows_sync(question: str, input: str, output: str | Path, **options: Any) -> Receipt:
    """As `map_rows`, for programs without an event loop."""
    return asyncio.run(map_rows(question, input, output, **options))
