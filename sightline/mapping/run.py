"""A map from its first row to its receipt; to be called from Python, too."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError
from sightline.mapping.caller import Caller, connected, default_key, default_url
from sightline.mapping.journal import Journal
from sightline.mapping.output import Receipt, check_output, check_replaced, written
from sightline.mapping.question import Question
from sightline.mapping.rows import Row, RowError, Source, source

TRIES = 3
"""How often a row is asked whose failure may pass: each time is a job of its own."""
LOOK_S, ESTIMATE_S = 0.5, 15.0
"""Pauses between looks at the progress, and between questions to the queue how long the rest takes."""
AHEAD = 64
"""Rows read at a time."""


@dataclass
class Progress:
    """`kept` of the rows `done` were answered by an earlier start.

    `left_s` is met half the time, and nine times in ten: what the queue says, or longer at our own pace.
    """

    total: int
    done: int = 0
    failed: int = 0
    kept: int = 0
    waits: str = ""
    left_s: tuple[float, float] | None = None


Show = Callable[[Progress], object]


@dataclass(frozen=True)
class _Prepared:
    """A row, and the job to submit; None for one that has ended before, or cannot be asked (`failure`)."""

    row: Row
    key: str
    body: bytes | None = None
    failure: Exception | None = None


@dataclass
class _Map:
    """One run over all rows. `keys` has those of all rows in their order: 32 bytes each."""

    question: Question
    caller: Caller
    journal: Journal
    progress: Progress
    keys: bytearray = field(default_factory=bytearray)

    async def run(self, source: Source) -> None:
        """Raises CommandError where no further row can be answered; what has ended is in the journal."""
        rows = source.rows()
        try:
            with ThreadPoolExecutor(source.at_once) as pool:
                async with asyncio.TaskGroup() as group:
                    read = partial(asyncio.to_thread, self._read, rows, pool if source.at_once > 1 else None)
                    ahead = group.create_task(read())
                    while some := await ahead:
                        ahead = group.create_task(read())
                        for prepared in some:
                            await self.caller.window.take()
                            self.keys += bytes.fromhex(prepared.key)
                            group.create_task(self._row(prepared))
        except ExceptionGroup as group:
            expected, others = group.split((CommandError, OSError))
            if expected is None or others is not None:
                raise
            raise expected.exceptions[0] from None

    def _read(self, rows: Iterator[Row], pool: ThreadPoolExecutor | None) -> list[_Prepared]:
        """The next rows, ready to be submitted: one after the other, or in the threads of a pool."""
        some = list(islice(rows, AHEAD))
        return list(pool.map(self._prepared, some) if pool else map(self._prepared, some))

    def _prepared(self, row: Row) -> _Prepared:
        try:
            key = self.question.key(row)
            return _Prepared(row, key, None if self.journal.done(key) else self.question.body(row))
        except (OSError, RowError, ValueError) as failure:
            # It may be readable at the next start, and then has another key.
            return _Prepared(row, self.question.key_of_failure(row, str(failure)), failure=failure)

    async def _row(self, prepared: _Prepared) -> None:
        row, key = prepared.row, prepared.key
        try:
            if self.journal.done(key):
                self.progress.kept += 1
            elif prepared.failure is not None:
                self.journal.add(key, _unasked(row, prepared.failure))
            elif prepared.body is not None:
                await self._ask(row, key, prepared.body)
            self.progress.done += 1
            self.progress.failed += self.journal.failed(key)
        finally:
            self.caller.window.free()

    async def _ask(self, row: Row, key: str, body: bytes) -> None:
        first = self.journal.tries(key)
        for attempt in range(first, first + TRIES):
            # A failed job stays the answer to its key, so another try has another.
            job = await self.caller.answer(body, f"{key}-{attempt}" if attempt else key)
            record = self._record(row, job, attempt + 1)
            self.journal.add(key, record)
            if self.journal.done(key):
                return

    def _record(self, row: Row, job: dict[str, Any], tries: int) -> dict[str, Any]:
        if job.get("status") != "succeeded":
            error = job.get("error") or {"code": "cancelled", "message": "The job was cancelled."}
            return _failed(row, {"retryable": False, **error}, job.get("id"), tries)
        answer = job["result"]["text"]
        values = self.question.values(answer)
        if values is None:
            message = "The answer reached its longest length before it was whole: allow more tokens."
            error = {"code": "answer_cut_off", "message": message, "retryable": False}
            return {**_failed(row, error, job["id"], tries), "answer": answer}
        ended = {"job": job["id"], "error": None, "tries": tries}
        return {"columns": row.columns, "answer": answer, "values": values, **ended}

    async def watch(self, show: Show) -> None:
        """Until cancelled: shows the progress, asks the queue how long the rest takes, syncs the journal."""
        begun, asked = time.monotonic(), -ESTIMATE_S
        while True:
            if time.monotonic() - asked >= ESTIMATE_S:
                asked = time.monotonic()
                await asyncio.to_thread(self.journal.sync)
                with suppress(CommandError):
                    self.progress.left_s = await self._left_s(time.monotonic() - begun)
            show(self.progress)
            await asyncio.sleep(LOOK_S)

    async def _left_s(self, passed_s: float) -> tuple[float, float] | None:
        progress = self.progress
        rest = progress.total - progress.done - self.caller.window.in_flight
        question = {"model": self.question.model, "input": {"prompt": self.question.template}}
        body = json.dumps(question | {"priority": "batch"}).encode()
        forecast = await self.caller.estimate(body, max(rest, 1))
        if (left_s := time_of(forecast)) is None:
            return None
        answered = progress.done - progress.kept
        pace_s = (progress.total - progress.done) * passed_s / answered if answered else 0.0
        return max(left_s[0], pace_s), max(left_s[1], pace_s)


def _unasked(row: Row, failure: Exception) -> dict[str, Any]:
    code = failure.code if isinstance(failure, RowError) else "unreadable"
    return _failed(row, {"code": code, "message": str(failure)[:500], "retryable": False})


def _failed(row: Row, error: dict[str, Any], job: str | None = None, tries: int = 1) -> dict[str, Any]:
    error = {name: error[name] for name in ("code", "message", "retryable")}
    return {"columns": row.columns, "job": job, "error": error, "tries": tries}


def time_of(forecast: dict[str, Any]) -> tuple[float, float] | None:
    """From now to the end of the last row: met half the time, and nine times in ten."""
    if (estimate := forecast.get("estimate")) is None:
        return None
    return estimate["p50"] + estimate["service_s"], estimate["p90"] + estimate["service_s"]


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
    async with connected(url or default_url(), key or default_key()) as clients:
        caller = Caller(clients)
        template = Question(question, model or await caller.model(), schema, max_tokens)
        check_replaced(path, input, template)
        template.check(await asyncio.to_thread(rows.columns))
        with Journal(journal_of(path), template.digest) as journal:
            mapped = _Map(template, caller, journal, Progress(await asyncio.to_thread(rows.count)))
            caller.say = lambda why: setattr(mapped.progress, "waits", why)
            await _watched(mapped, rows, show)
            return await asyncio.to_thread(written, path, mapped.keys, journal, template)


async def _watched(mapped: _Map, rows: Source, show: Show) -> None:
    watching = asyncio.create_task(mapped.watch(show))
    try:
        await mapped.run(rows)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    show(mapped.progress)


def map_rows_sync(question: str, input: str, output: str | Path, **options: Any) -> Receipt:
    """As `map_rows`, for programs without an event loop."""
    return asyncio.run(map_rows(question, input, output, **options))


def journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")
