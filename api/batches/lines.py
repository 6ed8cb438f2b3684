"""A batch's lines: those of a file, read one at a time, or the pages of a document."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, TypeVar

from api.dialects.openai.batches import Entry, from_line
from shared.batch import MOST_LINES, Batch, LineProblem
from shared.media.documents import selected
from shared.request import MOST_PAGES

T = TypeVar("T")
MOST_TOLD = 100
"""Problems of a file that the batch lists; each bad line is in the error file as well."""
SOME, SOME_BYTES, SOME_S = 4, 2**20, 0.25
"""Lines that are looked at together: so many, of so many bytes, read in so much time, but at least one."""


_CR_ALONE = re.compile(rb"}[ \t]*+\r\s*+\{")
"""A line end between two objects that is no LF. JSON holds no CR in a text, and no `{` behind a `}`."""


@dataclass(frozen=True)
class BatchLine:
    """A line: its number from 1, where it ends, its bytes. `custom_id` is None where it has none.

    `entry` is None where the line is a page, or the bytes of the file are gone.
    """

    number: int
    behind: int
    size: int
    custom_id: str | None
    entry: Entry | None = None


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number from 1, and the byte offset `behind` its end.

    `raw` is None for a line longer than a body may be.
    """

    number: int
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
        yield Line(row, behind, content)


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
    if (unreadable := _unreadable(file.read(4) + file.readline(limit))) is not None:
        return Scan(0, 0, (), (LineProblem("invalid_json_line", unreadable),), fatal=True)
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


def _unreadable(start: bytes) -> str | None:
    """Return why a file with this start has no lines, and what to do; None if it may have some."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4]:
        return "The file begins like UTF-16 or with NUL bytes. Save it as UTF-8, and upload it again."
    if _CR_ALONE.search(start):
        return "The file's lines end with CR alone. Save it with LF as line ends, and upload it again."
    return None


def file_lines(batch: Batch, file: BinaryIO, at: int, row: int, limit: int) -> Iterator[BatchLine]:
    """The lines of a file behind the line `row`, which ends at the byte `at`."""
    for line in lines(file, at, row, limit):
        entry = entry_of(line, batch.endpoint, limit)
        yield BatchLine(line.number, line.behind, len(line.raw or b""), entry.custom_id, entry)


def page_lines(batch: Batch, row: int) -> Iterator[BatchLine]:
    """The pages that are asked about: line n is the n-th of them, and ends at n."""
    pages = selected(batch.pages or "", MOST_PAGES, None)
    for number, page in enumerate(pages[row:], row + 1):
        yield BatchLine(number, number, 0, str(page))


def lost_lines(batch: Batch) -> Iterator[BatchLine]:
    """The lines without a row where the file is gone: as many as are left, each as if it had one byte."""
    count = (batch.total or 0) - batch.completed - batch.failed
    for number in range(1, count + 1):
        behind = batch.written_at + number if number < count else batch.last or 0
        yield BatchLine(batch.written + number, behind, 0, None)


def some(lines: Iterable[T], size: Callable[[T], int]) -> list[T]:
    """The next lines that are looked at together; empty where there is none."""
    found, bytes, until = list[T](), 0, time.monotonic() + SOME_S
    for line in islice(lines, SOME):
        found.append(line)
        bytes += size(line)
        if bytes >= SOME_BYTES or time.monotonic() >= until:
            break
    return found
