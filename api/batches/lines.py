"""Reads the lines of a batch's input file one at a time: of its 200 MB only the current line is in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from api.dialects.openai_batches import HEAD, Entry, from_line, named_at_start
from shared.batch import MOST_LINES, LineProblem

MOST_TOLD = 100
"""Problems of a file that the batch lists; each bad line is in the error file as well."""
BLOCK = 2**13
"""Bytes that are read at a time to skip blank lines."""


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number from 1, and the byte offsets `at` its start and `behind` its end.

    Blank lines before it belong to it. A line longer than a body may be is not `whole`: `raw` is its
    beginning.
    """

    number: int
    at: int
    behind: int
    raw: bytes
    whole: bool


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
        whole = raw.endswith(b"\n") or len(raw) <= limit
        if whole and not raw.strip():
            blank = _skip_blank(file, behind)
            row, behind = row + blank.lines, behind + blank.size
            continue
        said = raw if whole else raw[:HEAD]
        while not raw.endswith(b"\n") and (more := file.readline(limit + 1)):
            behind += len(more)
            raw = more
        yield Line(row, at, behind, said, whole)
        at = behind


class _Blank(NamedTuple):
    lines: int
    size: int


def _skip_blank(file: BinaryIO, at: int) -> _Blank:
    """Skip the blank lines from the byte offset `at` on; a file may hold nothing else."""
    count = size = 0
    while block := file.read(BLOCK):
        blank = len(block) - len(block.lstrip())
        skipped = block.rfind(b"\n", 0, blank) + 1
        count, size = count + block.count(b"\n", 0, skipped), size + skipped
        file.seek(at + size)
        if not skipped:
            break
    return _Blank(count, size)


def entry_of(line: Line, endpoint: str, limit: int) -> Entry:
    if not line.whole:
        message = f"Line {line.number} is longer than {limit} bytes."
        return Entry(named_at_start(line.raw), None, LineProblem("payload_too_large", message, line.number))
    return from_line(line.raw, line.number, endpoint)


def double(entry: Entry, number: int) -> LineProblem:
    message = f"Line {number}: `custom_id` {entry.custom_id!r} stands in an earlier line."
    return LineProblem("duplicate_custom_id", message, number, "custom_id")


def scan(file: BinaryIO, endpoint: str, limit: int) -> Scan:
    """Scan a file from its beginning. Takes some seconds for the largest."""
    seen: set[str] = set()
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
        if problem is None and entry.custom_id in seen:
            problem = double(entry, line.number)
            doubles.append(line.number)
        if entry.custom_id is not None:
            seen.add(entry.custom_id)
        if problem is not None:
            bad += 1
            if len(problems) < MOST_TOLD:
                problems.append(problem)
    if not total:
        problems = [LineProblem("empty_file", "The file has no lines.")]
    return Scan(total, last, tuple(doubles), tuple(problems), fatal=bad == total)
