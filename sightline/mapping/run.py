"""A map from its first row to its receipt; to be called from Python, too."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError
from sightline.mapping.caller import PASSING_CODES, Caller, connected, default_key, default_url
from sightline.mapping.journal import Journal
from sightline.mapping.output import Receipt, check_output, check_replaced, write_output
from sightline.mapping.question import Question
from sightline.mapping.rows import Row, RowError, Source, source

TRIES = 3
"""How often a row is asked whose failure may pass: each time is a job of its own."""
LOOK_S, SYNC_S = 0.5, 15.0
"""Pauses between looks at the progress, and between syncs of the journal."""
PACE_S, PACE_ROWS = 30.0, 32
"""What a pace is measured over: so long, and at least so many rows."""
AHEAD, AHEAD_BYTES = 64, 32 * 2**20
"""Rows read at a time, and bytes to submit after which no more are."""


@dataclass
class Progress:
    """`kept` of the rows `done` were answered by an earlier start.

    `left_s` is until the end of the last row: at the pace of late; before there is one, as the queue says.
    """

    total: int
    done: int = 0
    failed: int = 0
    kept: int = 0
    waits: str = ""
    left_s: float | None = None


class Pace:
    """How fast rows have ended lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = deque[float]()

    def begin(self) -> None:
        """The first row is asked."""
        if not self._ends:
            self._ends.append(self._clock())

    def ended(self) -> None:
        self._ends.append(self._clock())

    def left_s(self, rows: int) -> float | None:
        """Until so many more have ended; None before there is a pace."""
        now = self._clock()
        while len(self._ends) > PACE_ROWS + 1 and now - self._ends[0] > PACE_S:
            self._ends.popleft()
        if len(self._ends) <= PACE_ROWS:
            return None
        return rows * (now - self._ends[0]) / (len(self._ends) - 1)


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
    pace: Pace = field(default_factory=Pace)
    keys: bytearray = field(default_factory=bytearray)

    async def run(self, source: Source) -> None:
        """Raises CommandError where no further row can be answered; what has ended is in the journal."""
        rows = source.rows()
        try:
            with ThreadPoolExecutor(source.at_once) as pool:

                def begin(row: Row) -> Callable[[], _Prepared]:
                    # One at a time needs no threads, whose handing over takes longer than a small picture.
                    alone = source.at_once == 1
                    return partial(self._prepared, row) if alone else pool.submit(self._prepared, row).result

                async with asyncio.TaskGroup() as group:
                    read = partial(_read, rows, begin, source.at_once)
                    ahead = group.create_task(asyncio.to_thread(read))
                    while some := await ahead:
                        ahead = group.create_task(asyncio.to_thread(read))
                        for prepared in some:
                            await self.caller.window.take()
                            self.keys += bytes.fromhex(prepared.key)
                            group.create_task(self._row(prepared))
        except ExceptionGroup as group:
            expected, others = group.split((CommandError, OSError))
            if expected is None or others is not None:
                raise
            raise expected.exceptions[0] from None

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
                self.pace.ended()
            self.progress.done += 1
            self.progress.failed += self.journal.failed(key)
        finally:
            self.caller.window.free()

    async def _ask(self, row: Row, key: str, body: bytes) -> None:
        self.pace.begin()
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
            passes = error.get("retryable", False) or error["code"] in PASSING_CODES
            return _failed(row, {**error, "retryable": passes}, job.get("id"), tries)
        answer = job["result"]["text"]
        values = self.question.values(answer)
        if values is None:
            message = "The answer reached its longest length before it was whole: allow more tokens."
            error = {"code": "answer_cut_off", "message": message, "retryable": False}
            return {**_failed(row, error, job["id"], tries), "answer": answer}
        ended = {"job": job["id"], "error": None, "tries": tries}
        return {"columns": row.columns, "answer": answer, "values": values, **ended}

    async def watch(self, show: Show) -> None:
        """Until cancelled: shows the progress and how long the rest takes, syncs the journal."""
        synced = -SYNC_S
        known = self.journal.ended
        queue_s: float | None = None
        while True:
            remaining = self.progress.total - self.progress.done
            # Of a changed input some that are known are not met again.
            rest = max(remaining - max(known - self.progress.kept, 0), 0) or remaining
            left_s = self.pace.left_s(rest)
            if time.monotonic() - synced >= SYNC_S:
                synced = time.monotonic()
                await asyncio.to_thread(self.journal.sync)
                if left_s is None:
                    with suppress(CommandError):
                        queue_s = await self._queue_s(rest)
            self.progress.left_s = queue_s if left_s is None else left_s
            # Rows are not lost because nobody reads of them any more.
            with suppress(OSError):
                show(self.progress)
            await asyncio.sleep(LOOK_S)

    async def _queue_s(self, rest: int) -> float | None:
        question = {"model": self.question.model, "input": {"prompt": self.question.template}}
        body = json.dumps(question | {"priority": "batch"}).encode()
        waiting = max(rest - self.caller.window.in_flight, 1)
        time_s = time_of(await self.caller.estimate(body, waiting))
        return time_s and time_s[0]


def _read(
    rows: Iterator[Row], begin: Callable[[Row], Callable[[], _Prepared]], at_once: int
) -> list[_Prepared]:
    """The next rows, ready to be submitted. What `begin` returns waits until its row is."""
    some, begun, size = list[_Prepared](), deque[Callable[[], _Prepared]](), 0
    while True:
        room = AHEAD - len(some) if size < AHEAD_BYTES else 0
        begun.extend(map(begin, islice(rows, max(min(at_once, room) - len(begun), 0))))
        if not begun:
            return some
        some.append(begun.popleft()())
        size += len(some[-1].body or b"")


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
            caller.answered = journal.answered
            caller.say = lambda why: setattr(mapped.progress, "waits", why)
            await _watched(mapped, rows, show)
            return await asyncio.to_thread(write_output, path, mapped.keys, journal, template)


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


def journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")
