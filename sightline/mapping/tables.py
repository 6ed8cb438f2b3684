"""Tables as rows: JSONL, CSV, Parquet and Arrow files with a column of media, or with none."""

import base64
import binascii
import csv
import json
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count, dropwhile, islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.mapping.media import START, Medium, RowError, inline, kind_of, local, start_of
from sightline.mapping.rows import HEAD, SCHEMES, Row, Source, readable

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
REMOTE = ("http://", "https://", "data:", *SCHEMES)
"""How a medium begins that the service fetches or decodes itself."""
DATA_URIS = ("data:image/", "data:video/", "data:audio/", "data:application/")
COLUMNS = ("image", "picture", "file_name", "path", "file", "url", "bytes")
"""Where a table's media are looked for, in this order, unless a column is named."""
LONGEST = 64 * 2**20
"""Characters of a cell: a quote that never ends would take the whole file for one."""
NO_UTF8 = "is not UTF-8: save the file as UTF-8"
READ = 32
"""Rows of a table in memory at a time."""
Record = tuple[dict[str, Any], RowError | None]
"""Each row's cells, and why they cannot be used."""


def table(files: list[Path], column: str | None) -> Source:
    """Each row has its medium in `column`, or in the first usual one that the first rows have, or itself."""
    names, media, others = dict[str, None](), dict[str, None](), set[str]()
    for record, _ in islice(_records(files), HEAD):
        names |= dict.fromkeys(record)
        cells = {name: cell for name, cell in record.items() if _holds_medium(cell)}
        media |= dict.fromkeys(cells)
        others |= {name for name, cell in cells.items() if not isinstance(_content(cell), str | bytes)}
    if column is not None and column not in names:
        columns = ", ".join(names) or "none"
        raise CommandError(Exit.USAGE, f"The input has no column {column}; its columns: {columns}.")
    place = column or _usual(names)
    if place is None and media:
        message = f"Of {', '.join(media)} no pictures are taken: a row has one, not several."
        if single := [name for name in media if name not in others]:
            message = f"Which pictures are meant? Name their column: --column {' or '.join(single)}."
        raise CommandError(Exit.USAGE, message)

    def rows() -> Iterator[Row]:
        for file in files:
            for record, fault in _records([file]):
                yield _row(record, place, file.parent, fault)

    return Source(rows, lambda: sum(map(_length, files)))


def saved(path: Path) -> list[Path]:
    """The Arrow files of what `datasets.save_to_disk` wrote, split by split. Raises CommandError."""
    file, files = path / "dataset_dict.json", list[Path]()
    try:
        for split in json.loads(file.read_bytes())["splits"] if file.is_file() else [""]:
            file = path / split / "state.json"
            files += [file.parent / one["filename"] for one in json.loads(file.read_bytes())["_data_files"]]
        return files
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        message = f"{file} does not say which files the data set has ({type(error).__name__}: {error})"
        raise CommandError(Exit.USAGE, f"{message}: save the data set again.") from None


def _row(record: dict[str, Any], place: str | None, folder: Path, fault: RowError | None) -> Row:
    columns = {name: value for name, value in record.items() if not _holds_bytes(value)}
    place = place or _usual(record)
    if place is None or fault is not None:
        return Row(columns, fault=fault)
    cell = _content(record.get(place))
    if not cell or not isinstance(cell, str | bytes):
        message = f"The row's {place} holds no path, URL or bytes of one picture."
        return Row(columns, fault=RowError("missing_picture", message))
    if isinstance(cell, bytes):
        return Row(columns, inline(cell))
    if cell.lower().startswith(REMOTE):
        return Row(columns, Medium(lambda: cell, url=cell))
    if (data := _decoded(cell)) is not None:
        return Row(columns, inline(data))
    return Row(columns, local(folder / cell), path=folder / cell)


def _usual(names: Container[str]) -> str | None:
    return next((name for name in COLUMNS if name in names), None)


def _cells(cell: Any) -> Iterator[Any]:
    """What a cell holds, at whatever depth."""
    if isinstance(cell, dict | list):
        for value in cell.values() if isinstance(cell, dict) else cell:
            yield from _cells(value)
    else:
        yield cell


def _holds_medium(cell: Any) -> bool:
    return any(_is_uri(it) or (isinstance(it, bytes) and kind_of(it[:START])) for it in _cells(cell))


def _holds_bytes(cell: Any) -> bool:
    """Bytes, or a picture's data URI: the output does not repeat them."""
    return any(isinstance(it, bytes) or _is_uri(it) for it in _cells(cell))


def _is_uri(cell: Any) -> bool:
    return isinstance(cell, str) and cell[:17].lower().startswith(DATA_URIS)


def _content(cell: Any) -> Any:
    """Of Hugging Face's pair of bytes and path the one that is there; of a list of one, that one."""
    if isinstance(cell, list) and len(cell) == 1:
        [cell] = cell
    if isinstance(cell, dict) and cell.keys() == {"bytes", "path"}:
        return cell["path"] if cell["bytes"] is None else cell["bytes"]
    return cell


def _decoded(text: str) -> bytes | None:
    """Base64 of a medium, as JSON holds bytes; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if kind_of(data[:START]) else None


def _records(files: Iterable[Path]) -> Iterator[Record]:
    for file in files:
        match file.suffix.lower():
            case ".csv" | ".tsv":
                yield from _csv_rows(file)
            case ".parquet" | ".arrow":
                yield from ((record, None) for record in _arrow_rows(file))
            case _:
                yield from _json_lines(file)


def _csv_rows(file: Path) -> Iterator[Record]:
    """Separated as its heading is: some spreadsheets write semicolons or tabs."""
    csv.field_size_limit(LONGEST)
    lines = dropwhile(str.isspace, _utf8_lines(file))
    heading = next(lines, "")
    separator = max(",;\t|", key=heading.count)
    reader = csv.DictReader(chain([heading], lines), delimiter=separator)
    names = dict[str, None]()
    for name in reader.fieldnames or ():
        names[free_name(name, names)] = None
    reader.fieldnames = list(names)
    try:
        for cells in reader:
            fault = RowError("invalid_row", f"Line {reader.line_num} has more cells than columns.")
            # Those beyond the last column have no name.
            yield cells, fault if cells.pop(None, None) else None
    except csv.Error as error:
        raise CommandError(Exit.USAGE, f"Line {reader.line_num} of {file} cannot be read: {error}.") from None


def _utf8_lines(file: Path) -> Iterator[str]:
    """A row may have several, so none fails alone. Raises CommandError."""
    for number, line in enumerate(_lines(file), 1):
        if readable(line) != line:
            raise CommandError(Exit.USAGE, f"Line {number} of {file} {NO_UTF8}.")
        yield line


def free_name(name: str, taken: Container[str]) -> str:
    """A column's name: as it is given, or with `_2` and so on behind it."""
    numbered = (f"{name}_{number}" for number in count(2))
    return next(it for it in chain([name], numbered) if it not in taken)


def _json_lines(file: Path) -> Iterator[Record]:
    """A line that is no object fails alone; pyarrow's reader would refuse the whole file."""
    for number, line in enumerate(_lines(file), 1):
        record, fault = None, "is no JSON object" if readable(line) == line else NO_UTF8
        with suppress(ValueError, RecursionError):
            record = None if fault == NO_UTF8 else json.loads(line)
        if isinstance(record, dict):
            yield record, None
        elif line.strip():
            yield {}, RowError("invalid_row", f"Line {number} {fault}.")


def _lines(file: Path) -> Iterator[str]:
    """Raises CommandError, also for a pipe, which may not end."""
    try:
        # Excel's "Unicode text" is UTF-16, and so is what PowerShell writes.
        is_utf16 = start_of(file).startswith((b"\xff\xfe", b"\xfe\xff"))
        encoding = "utf-16" if is_utf16 else "utf-8-sig"
        with file.open(encoding=encoding, errors="surrogateescape", newline="") as text:
            yield from text
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no file, or its text is damaged"
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {reason}.") from None


@contextmanager
def _arrow(file: Path) -> Iterator[Any]:
    """The package, to read the file. Raises CommandError for a damaged file, pipe or device."""
    arrow = pyarrow()
    try:
        start_of(file)
        yield arrow
    except (arrow.ArrowException, OSError, ValueError, ArithmeticError) as error:
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {str(error).rstrip('.')}.") from None


def _arrow_rows(file: Path) -> Iterator[dict[str, Any]]:
    with _arrow(file) as arrow:
        for batch in _batches(arrow, file):
            # Python's moments have no nanoseconds, which are what pandas writes.
            texts = [
                field.with_type(arrow.string()) if str(field.type).startswith("timestamp[ns") else field
                for field in batch.schema
            ]
            # Else a damaged file ends this process.
            batch.validate(full=True)
            yield from batch.cast(arrow.schema(texts)).to_pylist()


def _batches(arrow: Any, file: Path) -> Iterator[Any]:
    if file.suffix.lower() == ".parquet":
        with arrow.parquet.ParquetFile(file) as opened:
            yield from opened.iter_batches(READ)
    else:
        with arrow.memory_map(str(file)) as mapped, arrow.ipc.open_stream(mapped) as stream:
            for batch in stream:
                yield from (batch.slice(at, READ) for at in range(0, batch.num_rows, READ))


def _length(file: Path) -> int:
    if file.suffix.lower() == ".parquet":
        with _arrow(file) as arrow, arrow.parquet.ParquetFile(file) as opened:
            return int(opened.metadata.num_rows)
    return sum(1 for _ in _records([file]))


def pyarrow() -> Any:
    """The package, with its parts. Raises CommandError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        message = "Parquet and Arrow files need pyarrow: pip install 'sightline-vlm[parquet]', or use JSONL."
        raise CommandError(Exit.USAGE, message) from None
    return pyarrow
