"""`sightline store`: exports and imports what the record store holds, and gives it the blob store."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated

from pydantic import SecretStr, ValidationError
from typer import Argument, Option

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.settings import Settings, SettingsError, load_settings
from shared.store.files import identity
from shared.store.layout import store_id
from shared.store.script import Store, connect
from shared.store.transfer import current_layout, layout_sl7
from shared.store.transfer.lines import FORMAT, LINE, Finish, Kept, Start, written
from shared.store.transfer.restore import RefusedError, StoreWriter
from sightline.commands import commands, typed_path
from sightline.exits import CommandError, Exit
from sightline.progress import Bar
from sightline.serving.data_server import record_server
from sightline.terminal import note
from sightline.whole_file import replacing

EXAMPLES = """\
examples:
  sightline store export jobs.jsonl --data data    what `sightline run` keeps there, while it does not run
  sightline store import jobs.jsonl --data new
  sightline store adopt                            SIGHTLINE_BLOBS__URL's pictures for SIGHTLINE_REDIS__URL
  SIGHTLINE_REDIS__URL=redis://old:6379/0 sightline store export - | ssh new sightline store import -

Stop the service first. The file has secrets of keys and webhooks, and what callers asked; pictures stay in
the blob store. See docs/updating.md.
"""
AT_ONCE, PIECE_BYTES = 100, 2**20
"""Lines that are taken in together, unless they have more bytes."""
PLURALS = {
    "model": "models",
    "key": "keys",
    "file": "files",
    "endpoint": "endpoints",
    "job": "jobs",
    "batch": "batches",
}
File = Annotated[str, Argument(metavar="FILE|-", help="JSON lines; - is standard input or output")]
Data = Annotated[
    Path | None,
    Option(parser=typed_path, help="folder of `sightline run`, in place of SIGHTLINE_REDIS__URL"),
]
app = commands("Export and import what the record store holds, and adopt its pictures.", EXAMPLES)


@app.command("export")
def _export(file: File, data: Data = None) -> None:
    """Write every job, key, webhook, batch, file's record and model's mark to FILE.

    It reads records of this and of the first layout (sl7:). Running jobs are exported as waiting ones. FILE
    is readable for you alone.
    """
    with _store(data, any_layout=True) as (store, _), ExitStack() as stack:
        if file == "-":
            counts, left_out = _write(store, sys.stdout)
        else:
            part = stack.enter_context(replacing(Path(file)))
            with open(part, "x", encoding="utf-8", opener=_private) as out:
                counts, left_out = _write(store, out)
    note(f"exported {_counted(counts)}")
    _note_left_out(left_out)


@app.command("import")
def _import(file: File, data: Data = None) -> None:
    """Take in what was exported. What is there already stays: repeat an import that was broken off.

    Waiting jobs wait again in their order, ended ones can be read for as long as before. No courier may run.
    """
    with _store(data) as (store, settings), ExitStack() as stack:
        lines = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        size = None if file == "-" else Path(file).stat().st_size
        writer = StoreWriter(store, settings)
        with Bar("importing", of_bytes=True) as bar:
            done = 0
            for piece, bytes in _pieces(lines):
                writer.take(piece, bytes)
                bar.show(done := done + bytes, size)
        writer.finish()
    note(f"imported {_counted(writer.counts)}")
    if writer.known.total():
        note(f"there already: {_counted(writer.known)}")
    _note_left_out(writer.left_out)


@app.command("adopt")
def _adopt() -> None:
    """Let the blob store belong to this record store.

    A record store deletes pictures in its own blob store only: others may need what it does not. Where its
    records were lost or moved, the blob store still names the former one.
    """
    with _store() as (store, settings):
        id = store.run(identity())
        Blobs(settings.blobs).assign(id)
    note(f"{settings.blobs.url} belongs to the record store {id}")


@contextmanager
def _store(data: Path | None = None, *, any_layout: bool = False) -> Iterator[tuple[Store, Settings]]:
    """The record store. Raises CommandError for what goes wrong with it."""
    try:
        settings = load_settings()
        with ExitStack() as stack:
            redis = settings.redis
            if data is not None:
                redis = redis.model_copy(update={"url": SecretStr(stack.enter_context(record_server(data)))})
            store = connect(redis, any_layout=any_layout)
            stack.callback(store.client.close)
            yield store, settings
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except Unavailable as error:
        raise CommandError(Exit.REDIS, error.message) from None
    except RefusedError as error:
        raise CommandError(Exit.REFUSED, str(error)) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write(store: Store, out: IO[str]) -> tuple[Counter[str], Mapping[str, int]]:
    """How many of each kind were written, and what was left out."""
    # Stores of the first layout have no id.
    layout = current_layout if store_id(store) else layout_sl7
    reader, counts = layout.StoreReader(store.client), Counter[str]()
    start = Start(format=FORMAT, layout=reader.prefix, exported_at=datetime.now(UTC).isoformat())
    print(written(start), file=out)
    with Bar("exporting jobs") as bar:
        for line in reader.lines():
            print(written(line), file=out)
            counts[line.kind] += 1
            bar.show(counts["job"], reader.jobs)
    if not counts:
        raise CommandError(Exit.REFUSED, f"The record store holds nothing under {reader.prefix}.")
    left_out = {what: count for what, count in reader.left_out.items() if count}
    print(written(Finish(counts=counts, left_out=left_out)), file=out, flush=True)
    return counts, left_out


def _pieces(lines: IO[bytes]) -> Iterator[tuple[list[Kept], int]]:
    """What is taken in together, and its bytes. Raises CommandError for what is no whole export."""
    piece, bytes, number, finish = list[Kept](), 0, 0, None
    for number, text in enumerate(lines, 1):
        line = _read(number, text)
        if isinstance(line, Start) != (number == 1):
            raise CommandError(Exit.USAGE, f"Line {number} is not what an export has there.")
        if isinstance(line, Finish):
            finish = line
        elif not isinstance(line, Start):
            piece.append(line)
            bytes += len(text)
        if len(piece) >= AT_ONCE or bytes >= PIECE_BYTES:
            yield piece, bytes
            piece, bytes = [], 0
    if piece:
        yield piece, bytes
    if finish is None:
        raise CommandError(
            Exit.USAGE, f"The export is cut off behind line {number}; the lines before were taken in."
        )


def _read(number: int, text: bytes) -> Start | Kept | Finish:
    try:
        line = LINE.validate_json(text)
    except ValidationError as error:
        why = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, why["loc"]))
        message = f"Line {number} is none of an export that this version reads: {where}: {why['msg']}."
        raise CommandError(Exit.USAGE, message) from None
    if isinstance(line, Start) and line.format > FORMAT:
        raise CommandError(
            Exit.USAGE, f"A newer version wrote this export (format {line.format}): update first."
        )
    return line


def _counted(counts: Mapping[str, int]) -> str:
    texts = (
        f"{count} {PLURALS[kind] if count != 1 else kind}"
        for kind, count in counts.items()
        if count and kind in PLURALS
    )
    return ", ".join(texts) or "nothing"


def _note_left_out(left_out: Mapping[str, int]) -> None:
    for what, count in left_out.items():
        note(f"left out: {count} {what}", "yellow")
