"""The output of a map, in the order of its input, and the receipt that says what became of each row."""

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.json_text import to_text
from sightline.mapping.journal import Journal, Record, writing
from sightline.mapping.media import digest
from sightline.mapping.question import Question
from sightline.mapping.rows import LeftOut, Row, journal_of, receipt_of
from sightline.mapping.tables import free_name, pyarrow

KEY_BYTES = 32
NAMED = 5
"""Rows that the receipt names with each error."""
ROWS = 1024
"""Rows of a table written at a time."""


@dataclass(frozen=True)
class Receipt:
    """What a map came to, counted in the rows of the output as they were written.

    `failures` has each error with its number and some rows. `left_out` counts files that are no row, by
    reason and ending. `input` is a digest of all rows with what was asked of them, in order; `output` the
    digest of `file`.
    """

    rows: int
    answered: int
    failed: int
    failures: list[dict[str, Any]]
    left_out: dict[str, dict[str, int]]
    model: str
    question: str
    input: str
    output: str
    file: str


def check_output(path: Path) -> None:
    """Check the output's place before anything is asked. Raises CommandError."""
    if path.suffix.lower() not in WRITERS:
        raise CommandError(Exit.USAGE, f"The output {path} should end in {', '.join(WRITERS)}.")
    try:
        if not path.parent.is_dir():
            raise CommandError(Exit.USAGE, f"The folder of the output, {path.parent}, is not there.")
        # The longest name that is written beside it (`replacing`).
        path.with_name(f"{receipt_of(path).name}.00000000.part").exists()
        for file in (path, receipt_of(path), journal_of(path)):
            if file.exists() and not file.is_file():
                raise CommandError(Exit.USAGE, f"{file} is no file: name another output.")
    except OSError as error:
        message = f"Nothing can be written beside the output {path} ({error.strerror}): name another."
        raise CommandError(Exit.USAGE, message) from None
    if path.suffix.lower() == ".parquet":
        pyarrow()


def check_replaced(path: Path, input: str, question: Question) -> None:
    """Of the input nothing is replaced, save what the same question had written. Raises CommandError."""
    source = Path(input)
    if not path.exists() or not os.path.exists(input):  # noqa: PTH110 - a long glob is no name of a file
        return
    # By file and not by name: a disk may take A.parquet and a.parquet for the same.
    inside = any(folder.samefile(source) for folder in path.resolve().parents)
    if path.samefile(source) or (inside and _question_of(path) != question.digest):
        message = f"The output {path} is part of the input, and no earlier output of this question"
        raise CommandError(Exit.USAGE, f"{message}: it would be replaced; name another.")


def _question_of(path: Path) -> Any:
    """As its receipt says; None where that is no receipt."""
    try:
        return json.loads(receipt_of(path).read_bytes())["question"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def write_output(
    path: Path, keys: bytearray, journal: Journal, question: Question, left_out: LeftOut
) -> Receipt:
    """Write the output from the journal, whole or not at all, and the receipt beside it."""
    answers = Answers(keys, journal, question)
    rows, failures = len(keys) // KEY_BYTES, answers.failures()
    failed = sum(failure["count"] for failure in failures)
    # The receipt takes its place first: killed between the two, its digest is not the output's, which shows,
    # and the next start writes both. A table without its receipt would become the input.
    with writing(path), replacing(path) as part, replacing(receipt_of(path)) as receipt_part:
        WRITERS[path.suffix.lower()](part, answers)
        receipt = Receipt(
            rows=rows,
            answered=rows - failed,
            failed=failed,
            failures=failures,
            left_out={reason: dict(endings) for reason, endings in left_out.items()},
            model=question.model,
            question=question.digest,
            input=hashlib.sha256(keys).hexdigest(),
            output=digest(part),
            file=str(path),
        )
        receipt_part.write_text(f"{json.dumps(asdict(receipt), indent=1)}\n")
    return receipt


class Answers:
    """The rows of the output, read from the journal as often as they are asked for.

    A column of the input keeps its name; an answer's column that is called the same gets `_2` behind its own.
    """

    def __init__(self, keys: bytearray, journal: Journal, question: Question) -> None:
        self._keys, self._journal = keys, journal
        self._properties = question.properties
        self.columns = dict.fromkeys(name for record in self._records() for name in record["columns"])
        self._names: dict[str, str] = {}
        for name in ("answer", *question.properties, "error", "job"):
            self._names[name] = free_name(name, self.columns)
            self.columns[self._names[name]] = None

    def rows(self) -> Iterator[dict[str, Any]]:
        for record in self._records():
            failure = record["error"]
            error = failure and {"code": failure["code"], "message": failure["message"]}
            values = dict.fromkeys(self._properties) | record.get("values", {})
            own = {"answer": record.get("answer"), **values, "error": error, "job": record["job"]}
            yield {**record["columns"], **{self._names[name]: value for name, value in own.items()}}

    def failures(self) -> list[dict[str, Any]]:
        """Return each error with its number and its first rows, the most frequent one first."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for number, record in enumerate(self._records(), 1):
            if error := record["error"]:
                code, message = error["code"], error["message"]
                new = {"code": code, "message": message, "count": 0, "rows": []}
                failure = found.setdefault((code, message), new)
                failure["count"] += 1
                if failure["count"] <= NAMED:
                    failure["rows"].append(Row(record["columns"]).name or f"row {number}")
        return sorted(found.values(), key=lambda failure: -failure["count"])

    def _records(self) -> Iterator[Record]:
        for at in range(0, len(self._keys), KEY_BYTES):
            yield self._journal.read(self._keys[at : at + KEY_BYTES].hex())


def _write_lines(path: Path, answers: Answers) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row in answers.rows():
            lines.write(f"{to_text(row)}\n")


def _write_csv(path: Path, answers: Answers) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, answers.columns)
        writer.writeheader()
        writer.writerows({name: _cell(value, str) for name, value in row.items()} for row in answers.rows())


def _write_table(path: Path, answers: Answers) -> None:
    """In two passes: a column's type is known once all rows were seen."""
    arrow = pyarrow()
    kinds: dict[str, set[type]] = {name: set() for name in answers.columns}
    for row in answers.rows():
        for name, value in row.items():
            kinds[name].add(_kind(value))
    casts = {name: _cast(kind - {type(None)}) for name, kind in kinds.items()}
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
    schema = arrow.schema([(name, types[cast]) for name, cast in casts.items()])
    some = answers.rows()
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        while page := list(islice(some, ROWS)):
            cells = [{name: _cell(row.get(name), cast) for name, cast in casts.items()} for row in page]
            writer.write_table(arrow.Table.from_pylist(cells, schema))


WRITERS: dict[str, Callable[[Path, Answers], None]] = {
    ".jsonl": _write_lines,
    ".ndjson": _write_lines,
    ".csv": _write_csv,
    ".parquet": _write_table,
}


def _kind(value: Any) -> type:
    return object if isinstance(value, int) and value.bit_length() > 63 else type(value)


def _cast(kinds: set[type]) -> type:
    """What all values of a column can be: text, where they differ, are lists and objects, or long numbers."""
    if kinds == {int, float}:
        return float
    return next(iter(kinds)) if kinds in ({int}, {float}, {bool}) else str


def _cell(value: Any, cast: type) -> Any:
    if value is None or (cast is str and isinstance(value, str)):
        return value
    return json.dumps(value, ensure_ascii=False) if cast is str else cast(value)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write: at the block's end it takes the place of `path`, unless the block failed."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
