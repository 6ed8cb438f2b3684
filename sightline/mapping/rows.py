"""The input of a map as rows: a folder or glob of media, a table, a data set's folder, a bucket."""

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.mapping.media import START, Medium, RowError, check_size, kind_of, local, page_media, start_of

SCHEMES = ("s3://", "gs://", "az://")
FILE, PAGE = "file", "page"
"""Columns of a folder, glob or bucket: where in it the file lies, and the document's page."""
NAMES = ("id", "image", "picture", "file_name", "path", FILE, "url")
"""Columns that name a row, if it has them; others may hold what is asked."""
LONGEST_NAME = 500
HEAD = 256
"""First rows that say which columns there are: lines of JSON may each have others."""
MEDIA = ("image/", "video/", "audio/", "application/pdf")
UNKNOWN, UNREADABLE, UNNAMED = "no picture, document, sound or video", "cannot be read", "not in the table"
HIDDEN = "hidden"
"""Why files are left out."""
LeftOut = dict[str, Counter[str]]
"""How many files of an input are no part of it: by reason and the ending of their names."""


@dataclass(frozen=True)
class Row:
    """One row: what templates may name and the output repeats, its medium, and why it cannot be asked."""

    columns: dict[str, Any]
    medium: Medium | None = None
    fault: RowError | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What people know it by, from its columns alone; "" where they are longer: pictures as text are."""
        cells = [it for it in map(self.columns.get, NAMES) if isinstance(it, str | int)]
        # Half a character in a name must not keep the row from being asked.
        names = [str(it).encode(errors="replace").decode() for it in cells]
        # A URL's secrets would be kept longer than what was asked.
        names = [re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", it) if "://" in it else it for it in names]
        name = next((it for it in names if 0 < len(it) <= LONGEST_NAME), "")
        return f"{name} {PAGE} {page}" if (page := self.columns.get(PAGE)) and FILE in self.columns else name


@dataclass(frozen=True)
class Source:
    """Where rows come from: read anew at each call, in the same order.

    `count` reads no more than beginnings and documents' numbers of pages, and fills `left_out`.
    """

    rows: Callable[[], Iterator[Row]]
    count: Callable[[], int]
    left_out: LeftOut = field(default_factory=dict)

    def columns(self) -> set[str]:
        """Those of the first rows. Raises CommandError where there are no rows."""
        names = [set(row.columns) for row in islice(self.rows(), HEAD)]
        if not names:
            self.count()
            left_out = [f"Left out: {left_out_words(*item)}." for item in self.left_out.items()]
            raise CommandError(Exit.USAGE, " ".join(["The input has no rows.", *left_out]))
        return set[str]().union(*names)


def left_out_words(reason: str, endings: dict[str, int]) -> str:
    most = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in most[:8])
    return f"{sum(endings.values())} ({reason}): {named}{', …' * (len(most) > 8)}"


def source(given: str, column: str | None = None) -> Source:
    """The rows of `given`; `column` names that of the media in a table. Raises CommandError.

    What a map wrote into a folder is no part of it: it has a receipt beside it.
    """
    from sightline.mapping.tables import TABLES, table

    if given.startswith(SCHEMES):
        return _files(partial(_bucket, given))
    path = Path(given)
    # A long glob is no name of a file, which pathlib would raise an OSError for.
    if os.path.isdir(given):  # noqa: PTH112
        return _folder(path, column)
    if os.path.isfile(given):  # noqa: PTH113
        is_table = path.suffix.lower() in TABLES
        return table([path], column) if is_table else _files(lambda: iter([_entry(path.name, path)]))
    if os.path.exists(given):  # noqa: PTH110
        raise CommandError(Exit.USAGE, f"The input {given} is a pipe or device: name a file or folder.")
    if glob.has_magic(given):
        matches = _matches(given)
        if matches and all(path.suffix.lower() in TABLES for path in matches):
            return table(matches, column)
        return _files(lambda: (_entry(str(path), path) for path in _matches(given)))
    kinds = f"a folder, a glob, a file ending in {', '.join(TABLES)}, or a URL like s3://bucket/prefix"
    raise CommandError(Exit.USAGE, f"The input {given} is not there, or is none of: {kinds}.")


@dataclass(frozen=True)
class _Entry:
    """A file of a folder or bucket. `start` has its first bytes, `whole` what its pages are read from.

    Both raise OSError; `whole` RowError, too. Without a `start` its name says enough.
    """

    name: str
    start: Callable[[], bytes] | None
    whole: Callable[[], Path | bytes]
    medium: Medium
    path: Path | None = None
    hidden: bool = False

    def rows(self) -> list[Row] | str:
        """A row for each page, one for all else; or why it is left out."""
        if self.hidden:
            return HIDDEN
        named = (guess_type(self.name)[0] or "").startswith(MEDIA)
        one = {FILE: readable(self.name)}
        if self.start is None:
            return [Row(one, self.medium)] if named else UNKNOWN
        try:
            kind = kind_of(start := self.start())
            pages = page_media(kind, start, self.whole)
        except RowError as fault:
            return [Row(one, fault=fault, path=self.path)]
        except (OSError, ValueError):
            return [Row(one, self.medium, path=self.path)] if named else UNREADABLE
        if kind is None and not named:
            return UNKNOWN
        if not pages:
            return [Row(one, self.medium, path=self.path)]
        return [Row({**one, PAGE: n}, page, path=self.path) for n, page in enumerate(pages, 1)]


def _files(entries: Callable[[], Iterator[_Entry]]) -> Source:
    left_out = LeftOut()

    def rows() -> Iterator[Row]:
        for entry in entries():
            if not isinstance(found := entry.rows(), str):
                yield from found

    def count() -> int:
        left_out.clear()
        total = 0
        for entry in entries():
            if isinstance(found := entry.rows(), str):
                _leave_out(left_out, found, entry.name)
            else:
                total += len(found)
        return total

    return Source(rows, count, left_out)


def _leave_out(left_out: LeftOut, reason: str, name: str) -> None:
    left_out.setdefault(reason, Counter())[Path(readable(name)).suffix.lower()] += 1


def _folder(path: Path, column: str | None) -> Source:
    """A data set that was saved, one of Parquet shards, an image folder with a table, or only files."""
    from sightline.mapping.tables import saved, table

    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return table(saved(path), column)
    for names in (["*.parquet"], ["metadata.jsonl", "metadata.csv"]):
        if tables := [it for it in _walk(path) if any(map(it.match, names)) and not _is_hidden(it, path)]:
            rows = table(tables, column)
            return Source(rows.rows, partial(_count_beside, rows, tables, path), rows.left_out)
    return _files(lambda: (_entry(str(it.relative_to(path)), it, _is_hidden(it, path)) for it in _walk(path)))


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(name.startswith(".") for name in path.relative_to(folder).parts)


def _count_beside(rows: Source, tables: list[Path], folder: Path) -> int:
    """The rows of a folder's tables; files that these do not name are left out."""
    rows.left_out.clear()
    # A shard holds its pictures itself, and takes long to be read.
    named = {row.path for row in rows.rows()} if tables[0].suffix != ".parquet" else set()
    for path in _walk(folder):
        if path not in named and path not in tables:
            _leave_out(rows.left_out, UNNAMED, path.name)
    return rows.count()


def receipt_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.receipt.json")


def journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


def _walk(folder: Path) -> Iterator[Path]:
    """Files in and below a folder, in the order of their names, however deep they lie.

    A link to one of the folders above it is not followed; what a map wrote is not there. A folder that cannot
    be read comes as a file: the row that it becomes fails alone.
    """
    waiting = [(folder, frozenset[tuple[int, int]]())]
    while waiting:
        path, above = waiting.pop()
        try:
            facts = path.stat()
            paths = sorted(path.iterdir(), reverse=True) if stat.S_ISDIR(facts.st_mode) else None
        except OSError:
            paths = None
        if paths is None:
            if not _is_own(path):
                yield path
        elif (identity := (facts.st_dev, facts.st_ino)) not in above:
            above |= {identity}
            waiting += [(path, above) for path in paths]


def _is_own(path: Path) -> bool:
    """Whether it is a map's output, or the journal, receipt or unfinished output beside one."""
    output = path.with_name(path.name.removesuffix(".journal").removesuffix(".receipt.json"))
    # pathlib raises OSError for a name that becomes too long.
    return any(map(os.path.exists, (receipt_of(output), journal_of(output))))


def _matches(pattern: str) -> list[Path]:
    every = map(Path, sorted(glob.iglob(pattern, recursive=True)))  # noqa: PTH207 - it may begin at the root
    return [path for path in every if not path.is_dir() and not _is_own(path)]


def _entry(name: str, path: Path, hidden: bool = False) -> _Entry:
    return _Entry(name, partial(start_of, path), lambda: path, local(path), path, hidden)


def readable(text: str) -> str:
    """Bytes that are not UTF-8 are written out, as `\\xe9`."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _bucket(url: str) -> Iterator[_Entry]:
    """The files under a bucket's URL, by the environment's keys; a version is known without reading it."""
    import obstore
    from obstore.exceptions import BaseError, InvalidPathError
    from obstore.store import from_url

    try:
        store = from_url(url, client_options={"allow_http": True})
        for chunk in obstore.list(store):
            yield from map(partial(_stored, store), sorted(chunk, key=lambda entry: entry["path"]))
    except InvalidPathError as error:
        reason = str(error).partition("\n")[0].partition(": ")[2]
        message = f"{url} cannot be listed, as one key is no path ({reason})"
        raise CommandError(Exit.USAGE, f"{message}: rename it, or name a prefix without it.") from None
    except (BaseError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        message = f"{url} cannot be listed ({reason}): docs/object-store.md names the keys."
        raise CommandError(Exit.USAGE, message) from None


def _stored(store: Any, entry: Any) -> _Entry:
    """Where the name says whether it is a picture, its bytes are not read to list it."""
    path, size = entry["path"], entry["size"]
    version = str(entry["e_tag"] or f"{entry['last_modified']} {size}")
    whole = partial(_object, store, path, size)
    start = partial(_object, store, path, min(size, START), first=True)
    known = guess_type(path)[0] not in (None, "application/pdf", "image/tiff")
    medium, hidden = Medium(lambda: version, whole), _is_hidden(Path(path), Path())
    return _Entry(path, None if known else start, whole, medium, hidden=hidden)


def _object(store: Any, path: str, size: int, *, first: bool = False) -> bytes:
    """All of an object, or its first `size` bytes. Raises OSError, RowError."""
    import obstore
    from obstore.exceptions import BaseError

    check_size(size)
    try:
        if first:
            return bytes(obstore.get_range(store, path, start=0, length=size)) if size else b""
        return bytes(obstore.get(store, path).bytes())
    except BaseError as error:
        raise OSError(f"{path} cannot be read from the bucket ({type(error).__name__})") from None
