"""The input of a map as rows: a folder or glob of pictures, a table, a data set's folder, a bucket."""

import base64
import binascii
import csv
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit

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


@dataclass(frozen=True)
class Picture:
    """`identity` changes when the content does, and may be asked for without reading the bytes."""

    identity: Callable[[], str]
    load: Callable[[], bytes] | None = None
    url: str | None = None


@dataclass(frozen=True)
class Row:
    """One row: what templates may name and the output repeats, and its picture."""

    columns: dict[str, Any]
    picture: Picture | None


@dataclass(frozen=True)
class Source:
    """Where rows come from: read anew at each call, in the same order; `count` reads no picture.

    `at_once` is how many pictures are read at the same time.
    """

    rows: Callable[[], Iterator[Row]]
    count: Callable[[], int]
    at_once: int = 1


def source(given: str, column: str | None = None, output: Path | None = None) -> Source:
    """The rows of `given`; `column` names that of the pictures in a table. Raises CommandError.

    An `output` that lies in the input's folder is no part of it.
    """
    if given.startswith(SCHEMES):
        return replace(_pictures(partial(_bucket, given)), at_once=DOWNLOADS)
    path = Path(given)
    if path.is_dir():
        return _folder(path, column, output and output.absolute())
    if path.is_file() and path.suffix.lower() in TABLES:
        return _table([path], column)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _pictures(lambda: iter([_named(path.name, path)]))
    if glob.has_magic(given):
        return _pictures(partial(_matches, given))
    kinds = f"a folder, a glob, a file ending in {', '.join(TABLES)}, or a URL like s3://bucket/prefix"
    raise CommandError(Exit.USAGE, f"The input {given} is not there, or is none of: {kinds}.")


def _folder(path: Path, column: str | None, output: Path | None) -> Source:
    """A data set that was saved, one of Parquet shards, an image folder with a table, or only pictures."""
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return _table(_saved(path), column)
    if shards := sorted(it for it in path.rglob("*.parquet") if it.absolute() != output):
        return _table(shards, column)
    tables = [table for name in ("metadata.jsonl", "metadata.csv") for table in sorted(path.rglob(name))]
    if tables:
        return _table(tables, column)
    return _pictures(lambda: (_named(str(it.relative_to(path)), it) for it in _walk(path)))


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
    identity = (stat := folder.stat()).st_dev, stat.st_ino
    if identity in above:
        return
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir():
            yield from _walk(Path(entry.path), above | {identity})
        elif entry.name.lower().endswith(SUFFIXES):
            yield Path(entry.path)


def _matches(pattern: str) -> Iterator[Row]:
    every = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - a pattern may begin at the root
    names = sorted(name for name in every if name.lower().endswith(SUFFIXES))
    return (_named(name, Path(name)) for name in names if Path(name).is_file())


def _named(name: str, path: Path) -> Row:
    return Row({FILE: name}, _local(path))


def _local(path: Path) -> Picture:
    return Picture(lambda: _digest(path.read_bytes()), path.read_bytes)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bucket(url: str) -> Iterator[Row]:
    """The pictures under a bucket's URL, by the environment's keys; a version is known without reading it."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        store = from_url(url, client_options={"allow_http": True})
        for chunk in obstore.list(store):
            for entry in sorted(chunk, key=lambda entry: entry["path"]):
                if entry["path"].lower().endswith(SUFFIXES):
                    version = entry["e_tag"] or f"{entry['last_modified']} {entry['size']}"
                    load = partial(_object, store, entry["path"])
                    yield Row({FILE: entry["path"]}, Picture(partial(str, version), load))
    except (BaseError, ValueError) as error:
        message = f"{url} cannot be listed ({type(error).__name__}): docs/object-store.md names the keys."
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
    first = next(_records(files), {})
    if column is not None and column not in first:
        names = ", ".join(first) or "none"
        raise CommandError(Exit.USAGE, f"The input has no column {column}; its columns: {names}.")
    place = column or next((name for name in PICTURE_COLUMNS if name in first), None)

    def rows() -> Iterator[Row]:
        for file in files:
            for record in _records([file]):
                yield _row(record, place, file.parent)

    return Source(rows, lambda: sum(map(_length, files)))


def _row(record: dict[str, Any], place: str | None, folder: Path) -> Row:
    columns = {name: value for name, value in record.items() if not _is_bytes(value)}
    if place is None or record.get(place) is None:
        return Row(columns, None)
    return Row(columns, _cell(record[place], folder))


def _is_bytes(value: Any) -> bool:
    """Whether a cell is a picture itself, which the output does not repeat."""
    content = value.get("bytes") if isinstance(value, dict) else value
    return isinstance(content, bytes) or (isinstance(content, str) and content.startswith("data:"))


def _cell(value: Any, folder: Path) -> Picture:
    """Bytes, a URL, a path from the table's folder on, or Hugging Face's pair of bytes and path."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes):
        return _inline(value)
    text = str(value)
    if text.lower().startswith(REMOTE):
        return Picture(lambda: text, url=text)
    if (data := _decoded(text)) is not None:
        return _inline(data)
    return _local(folder / text)


def _inline(data: bytes) -> Picture:
    return Picture(lambda: _digest(data), lambda: data)


def _decoded(text: str) -> bytes | None:
    """Base64 of a picture, as JSON holds bytes; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data.startswith(MAGIC) else None


def _records(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        match file.suffix.lower():
            case ".csv":
                with file.open(newline="", encoding="utf-8") as lines:
                    yield from csv.DictReader(lines)
            case ".parquet" | ".arrow":
                for batch in _batches(file):
                    yield from batch.to_pylist()
            case _:
                yield from _json_lines(file)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise CommandError(Exit.USAGE, f"{file}: line {number} is no JSON object.")
            yield record


def _batches(file: Path) -> Iterator[Any]:
    arrow = pyarrow()
    try:
        if file.suffix == ".parquet":
            with arrow.parquet.ParquetFile(file) as table:
                yield from table.iter_batches(READ)
        else:
            with arrow.memory_map(str(file)) as mapped, arrow.ipc.open_stream(mapped) as stream:
                for batch in stream:
                    yield from (batch.slice(at, READ) for at in range(0, batch.num_rows, READ))
    except arrow.ArrowException as error:
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {error}.") from None


def _length(file: Path) -> int:
    match file.suffix.lower():
        case ".parquet":
            with pyarrow().parquet.ParquetFile(file) as table:
                return int(table.metadata.num_rows)
        case ".arrow":
            return sum(batch.num_rows for batch in _batches(file))
        case ".csv":
            return sum(1 for _ in _records([file]))
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
