"""The output of a map, in the order of its input, and the receipt that says what became of each row."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.json_text import to_text
from sightline.mapping.journal import Journal
from sightline.mapping.question import Question
from sightline.mapping.rows import pyarrow, receipt_of

FORMATS = (".jsonl", ".ndjson", ".parquet")
KEY_BYTES = 32
Rows = Callable[[], Iterator[dict[str, Any]]]
ROWS = 1024
"""Rows of a table written at a time."""


@dataclass(frozen=True)
class Receipt:
    """What a map came to, counted in the rows of the output as they were written.

    `input` is a digest of all rows with what was asked of them, in order; `output` the file's.
    """

    rows: int
    answered: int
    failed: int
    model: str
    question: str
    input: str
    output: str


def check_output(path: Path) -> None:
    """Before anything is asked. Raises CommandError."""
    if path.is_dir():
        raise CommandError(Exit.USAGE, f"The output {path} is a folder; name a file.")
    if path.suffix.lower() not in FORMATS:
        raise CommandError(Exit.USAGE, f"The output {path} should end in {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise CommandError(Exit.USAGE, f"The folder of the output, {path.parent}, is not there.")
    if path.suffix.lower() == ".parquet":
        pyarrow()


def check_replaced(path: Path, input: str, question: Question) -> None:
    """Of the input nothing is replaced, save what the same question had written. Raises CommandError."""
    source = Path(input)
    if not path.exists() or not source.exists():
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


def write_output(path: Path, keys: bytearray, journal: Journal, question: Question) -> Receipt:
    """Write the output from the journal, whole or not at all, and the receipt beside it."""
    part, receipt_part = _part(path), _part(receipt_of(path))
    rows = partial(_rows, keys, journal, question)
    counts = {"answered": 0, "failed": 0}
    try:
        (_write_table if path.suffix.lower() == ".parquet" else _write_lines)(part, rows, counts)
        receipt = Receipt(
            rows=len(keys) // KEY_BYTES,
            **counts,
            model=question.model,
            question=question.digest,
            input=hashlib.sha256(keys).hexdigest(),
            output=_digest(part),
        )
        receipt_part.write_text(f"{json.dumps(asdict(receipt), indent=1)}\n")
        # The receipt first: killed between the two, its digest is not the output's, which shows, and the next
        # start writes both. A table without its receipt would become the input instead of the pictures.
        receipt_part.replace(receipt_of(path))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        receipt_part.unlink(missing_ok=True)
    return receipt


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")


def _rows(keys: bytearray, journal: Journal, question: Question) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(question.properties)
    for at in range(0, len(keys), KEY_BYTES):
        record = journal.read(keys[at : at + KEY_BYTES].hex())
        error = record["error"] and {name: record["error"][name] for name in ("code", "message")}
        answers = {"answer": record.get("answer"), **empty, **record.get("values", {})}
        yield {**record["columns"], **answers, "error": error, "job": record["job"]}


def _counted(rows: Iterable[dict[str, Any]], counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        counts["failed" if row["error"] else "answered"] += 1
        yield row


def _write_lines(path: Path, rows: Rows, counts: dict[str, int]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row in _counted(rows(), counts):
            lines.write(f"{to_text(row)}\n")


def _write_table(path: Path, rows: Rows, counts: dict[str, int]) -> None:
    """In two passes: a column's type is known once all rows were seen."""
    arrow = pyarrow()
    kinds: dict[str, set[type]] = {}
    for row in rows():
        for name, value in row.items():
            kinds.setdefault(name, set()).add(_kind(value))
    casts = {name: _cast(kind - {type(None)}) for name, kind in kinds.items()}
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
    schema = arrow.schema([(name, types[cast]) for name, cast in casts.items()])
    some = _counted(rows(), counts)
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        while page := list(islice(some, ROWS)):
            cells = [{name: _cell(row.get(name), cast) for name, cast in casts.items()} for row in page]
            writer.write_table(arrow.Table.from_pylist(cells, schema))


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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
