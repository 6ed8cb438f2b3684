"""The input of a map as rows: a folder or glob of pictures, a table, a data set's folder, a bucket."""

import base64
import binascii
import csv
import glob
import hashlib
import json
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.terminal import note

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
SCHEMES = ("s3://", "gs://", "az://")
REMOTE = ("http://", "https://", "data:", *SCHEMES)
"""How a picture begins that the service fetches or decodes itself."""
PICTURE_COLUMNS = ("image", "picture", "file_name", "path", "file", "url", "bytes")
"""Where a table's pictures are looked for, in this order, unless a column is named."""
MAGIC = (b"\x89PNG", b"\xff\xd8", b"RIFF", b"GIF8")
TABLES = (".jsonl", ".ndjson", ".parquet")
FILE = "file"
"""The column of a folder, glob or bucket: where in it the picture lies."""
DOWNLOADS = 16
READ = 32
"""Rows of a table in memory at a time."""
HEAD = 256
"""First rows that say which columns there are: lines of JSON may each have others."""


class RowError(Exception):
    """A row cannot be asked, and never will be as it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Picture:
    """`identity` changes when the content does, and may be asked for without reading the bytes."""

    identity: Callable[[], str]
    load: Callable[[], bytes] | None = None
    url: str | None = None


@dataclass(frozen=True)
class Row:
    """One row: what templates may name and the output repeats, its picture, and why it cannot be asked."""

    columns: dict[str, Any]
    picture: Picture | None = None
    fault: RowError | None = None


@dataclass(frozen=True)
class Source:
    """Where rows come from: read anew at each call, in the same order; `count` reads no picture.

    `at_once` is how many pictures are read at the same time, `left_out` names a folder's tables that are no
    part of it.
    """

    rows: Callable[[], Iterator[Row]]
    count: Callable[[], int]
    at_once: int = 1
    left_out: str = ""

    def columns(self) -> set[str]:
        """Those of the first rows. Raises CommandError where there are no rows."""
        names: set[str] | None = None
        for row in islice(self.rows(), HEAD):
            names = (names or set()) | row.columns.keys()
        if names is None:
            message = f"The input has no rows. Pictures end in {', '.join(SUFFIXES)}. {self.left_out}"
            raise CommandError(Exit.USAGE, message.rstrip())
        return names


def source(given: str, column: str | None = None) -> Source:
    """The rows of `given`; `column` names that of the pictures in a table. Raises CommandError.

    What a map wrote into a folder is no part of it: it has a receipt beside it.
    """
    if given.startswith(SCHEMES):
        return replace(_pictures(partial(_bucket, given)), at_once=DOWNLOADS)
    path = Path(given)
    if path.is_dir():
        return _folder(path, column)
    if path.is_file() and path.suffix.lower() in TABLES:
        return _table([path], column)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _pictures(lambda: iter([_named(path.name, path)]))
    if glob.has_magic(given):
        return _pictures(partial(_matches, given))
    kinds = f"a folder, a glob, a file ending in {', '.join(TABLES)}, or a URL like s3://bucket/prefix"
    raise CommandError(Exit.USAGE, f"The input {given} is not there, or is none of: {kinds}.")


def _folder(path: Path, column: str | None) -> Source:
    """A data set that was saved, one of Parquet shards, an image folder with a table, or only pictures."""
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return _table(_saved(path), column)
    tables, answers = list[Path](), list[str]()
    for names in (["*.parquet"], ["metadata.jsonl", "metadata.csv"]):
        for table in [table for name in names for table in sorted(path.rglob(name))]:
            if receipt_of(table).exists():
                answers.append(str(table.relative_to(path)))
            else:
                tables.append(table)
        if tables:
            break
    left_out = f"Left out, as a map's receipt is beside it: {', '.join(answers)}." if answers else ""
    if left_out:
        note(left_out)
    pictures = _pictures(lambda: (_named(str(it.relative_to(path)), it) for it in _walk(path)))
    return replace(_table(tables, column) if tables else pictures, left_out=left_out)


def receipt_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.receipt.json")


def _saved(path: Path) -> list[Path]:
    """The Arrow files of what `datasets.save_to_disk` wrote, split by split."""
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        return [file for split in splits for file in _saved(path / split)]
    files = json.loads((path / "state.json").read_bytes())["_data_files"]
    return [path / file["filename"] for file in files]


def _pictures(rows: Callable[[], Iterator[Row]]) -> Source:
    return Source(rows, lambda: sum(1 for _ in rows()))


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Pictures in and below a folder, in the order of their names; one folder's names are in memory.

    A link to one of the folders `above` is not followed.
    """
    identity = (facts := folder.stat()).st_dev, facts.st_ino
    if identity in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _walk(path, above | {identity})
        elif path.name.lower().endswith(SUFFIXES):
            yield path


def _matches(pattern: str) -> Iterator[Row]:
    every = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - a pattern may begin at the root
    names = sorted(name for name in every if name.lower().endswith(SUFFIXES))
    return (_named(name, Path(name)) for name in names if not Path(name).is_dir())


def _named(name: str, path: Path) -> Row:
    return Row({FILE: _readable(name)}, _local(path))


def _readable(text: str) -> str:
    """Bytes that are not UTF-8 are written out, as `\\xe9`."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _local(path: Path) -> Picture:
    return Picture(lambda: _digest(_file(path)), lambda: _file(path))


def _file(path: Path) -> bytes:
    """Raises OSError, also for a pipe or device, which may have no end; ValueError for a name with a NUL."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no file.")
    return path.read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bucket(url: str) -> Iterator[Row]:
    """The pictures under a bucket's URL, by the environment's keys; a version is known without reading it."""
    import obstore
    from obstore.exceptions import BaseError, InvalidPathError
    from obstore.store import from_url

    try:
        store = from_url(url, client_options={"allow_http": True})
        for chunk in obstore.list(store):
            for entry in sorted(chunk, key=lambda entry: entry["path"]):
                if entry["path"].lower().endswith(SUFFIXES):
                    version = entry["e_tag"] or f"{entry['last_modified']} {entry['size']}"
                    load = partial(_object, store, entry["path"])
                    yield Row({FILE: entry["path"]}, Picture(partial(str, version), load))
    except InvalidPathError as error:
        reason = str(error).partition("\n")[0].partition(": ")[2]
        message = f"{url} cannot be listed, as one key is no path ({reason})"
        raise CommandError(Exit.USAGE, f"{message}: rename it, or name a prefix without it.") from None
    except (BaseError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        message = f"{url} cannot be listed ({reason}): docs/object-store.md names the keys."
        raise CommandError(Exit.USAGE, message) from None


def _object(store: Any, path: str) -> bytes:
    """Raises OSError."""
    import obstore
    from obstore.exceptions import BaseError

    try:
        return bytes(obstore.get(store, path).bytes())
    except BaseError as error:
        raise OSError(f"{path} cannot be read from the bucket ({type(error).__name__})") from None


# Tables: JSONL, CSV, Parquet and Arrow files with a column of pictures, or with none.


def _table(files: list[Path], column: str | None) -> Source:
    """Each row has its picture in `column`, or in the first usual one that the first rows have, or itself."""
    names, pictures, others = dict[str, None](), dict[str, None](), set[str]()
    for record, _ in islice(_records(files), HEAD):
        names |= dict.fromkeys(record)
        cells = {name: cell for name, cell in record.items() if _holds(cell, MAGIC)}
        pictures |= dict.fromkeys(cells)
        others |= {name for name, cell in cells.items() if not isinstance(_content(cell), str | bytes)}
    if column is not None and column not in names:
        columns = ", ".join(names) or "none"
        raise CommandError(Exit.USAGE, f"The input has no column {column}; its columns: {columns}.")
    place = column or _usual(names)
    if place is None and pictures:
        message = f"Of {', '.join(pictures)} no pictures are taken: a row has one, not several."
        if single := [name for name in pictures if name not in others]:
            message = f"Which pictures are meant? Name their column: --column {' or '.join(single)}."
        raise CommandError(Exit.USAGE, message)

    def rows() -> Iterator[Row]:
        for file in files:
            for record, fault in _records([file]):
                yield _row(record, place, file.parent, fault)

    return Source(rows, lambda: sum(map(_length, files)))


def _row(record: dict[str, Any], place: str | None, folder: Path, fault: RowError | None) -> Row:
    columns = {name: value for name, value in record.items() if not _holds(value, b"")}
    place = place or _usual(record)
    if place is None or fault is not None:
        return Row(columns, fault=fault)
    cell = _content(record.get(place))
    if not cell or not isinstance(cell, str | bytes):
        message = f"The row's {place} holds no path, URL or bytes of one picture."
        return Row(columns, fault=RowError("missing_picture", message))
    return Row(columns, _picture(cell, folder))


def _usual(names: Container[str]) -> str | None:
    return next((name for name in PICTURE_COLUMNS if name in names), None)


def _holds(cell: Any, start: bytes | tuple[bytes, ...]) -> bool:
    """Whether a cell holds bytes that begin so, or a picture's data URI: the output does not repeat them."""
    match cell:
        case dict() | list():
            inner = cell.values() if isinstance(cell, dict) else cell
            return any(_holds(value, start) for value in inner)
        case bytes():
            return cell.startswith(start)
    return isinstance(cell, str) and cell[:11].lower() == "data:image/"


def _content(cell: Any) -> Any:
    """Of Hugging Face's pair of bytes and path the one that is there; of a list of one, that one."""
    if isinstance(cell, list) and len(cell) == 1:
        [cell] = cell
    if isinstance(cell, dict) and cell.keys() == {"bytes", "path"}:
        return cell["path"] if cell["bytes"] is None else cell["bytes"]
    return cell


def _picture(cell: str | bytes, folder: Path) -> Picture:
    """Bytes, a URL, or a path from the table's folder on."""
    if isinstance(cell, bytes):
        return _inline(cell)
    if cell.lower().startswith(REMOTE):
        return Picture(lambda: cell, url=cell)
    if (data := _decoded(cell)) is not None:
        return _inline(data)
    return _local(folder / cell)


def _inline(data: bytes) -> Picture:
    return Picture(lambda: _digest(data), lambda: data)


def _decoded(text: str) -> bytes | None:
    """Base64 of a picture, as JSON holds bytes; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data.startswith(MAGIC) else None


def _records(files: Iterable[Path]) -> Iterator[tuple[dict[str, Any], RowError | None]]:
    """Each row's cells, and why they cannot be used."""
    for file in files:
        match file.suffix.lower():
            case ".csv":
                yield from _csv_rows(file)
            case ".parquet" | ".arrow":
                for batch in _batches(file):
                    yield from ((record, None) for record in batch.to_pylist())
            case _:
                yield from _json_lines(file)


def _csv_rows(file: Path) -> Iterator[tuple[dict[str, Any], RowError | None]]:
    csv.field_size_limit(2**31 - 1)
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        reader = csv.DictReader(lines)
        if not _is_utf8(reader.fieldnames or ()):
            raise CommandError(Exit.USAGE, f"Line 1 of {file} is not UTF-8: save the file as UTF-8.")
        for record in reader:
            fault, line = None, f"Line {reader.line_num}"
            if record.pop(None, None) is not None:
                fault = RowError("invalid_row", f"{line} has more cells than columns.")
            if not _is_utf8(record.values()):
                fault = RowError("invalid_row", f"{line} is not UTF-8: save the file as UTF-8.")
                record = {name: cell and _readable(cell) for name, cell in record.items()}
            yield record, fault


def _is_utf8(cells: Iterable[str | None]) -> bool:
    try:
        "".join(filter(None, cells)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_lines(file: Path) -> Iterator[tuple[dict[str, Any], RowError | None]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                yield record, None
            else:
                yield {}, RowError("invalid_row", f"Line {number} is no JSON object.")


def _batches(file: Path) -> Iterator[Any]:
    arrow = pyarrow()
    try:
        if file.suffix.lower() == ".parquet":
            with arrow.parquet.ParquetFile(file) as table:
                yield from table.iter_batches(READ)
        else:
            with arrow.memory_map(str(file)) as mapped, arrow.ipc.open_stream(mapped) as stream:
                for batch in stream:
                    yield from (batch.slice(at, READ) for at in range(0, batch.num_rows, READ))
    except (arrow.ArrowException, OSError) as error:
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {str(error).rstrip('.')}.") from None


def _length(file: Path) -> int:
    match file.suffix.lower():
        case ".parquet":
            with pyarrow().parquet.ParquetFile(file) as table:
                return int(table.metadata.num_rows)
        case ".arrow":
            return sum(batch.num_rows for batch in _batches(file))
        case ".csv":
            return sum(1 for _ in _csv_rows(file))
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


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
