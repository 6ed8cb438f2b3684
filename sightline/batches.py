"""The HTTP calls of `sightline batches`: upload a file, make and watch a batch, download its files."""

import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, BinaryIO

import httpx

from sightline.exits import CommandError, Exit, PassingError
from sightline.serving.service import check, fetched, parsed, segment, speaking

Batch = dict[str, Any]
PATH, FILES = "/v1/batches", "/v1/files"
ENDED = ("completed", "failed", "expired", "cancelled")
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
WINDOW = "24h"
PAUSE_S = 1.0
MOST_MISSES = 60
"""Failed polls in a row, a second apart, after which waiting ends."""
PIECE = 2**16


class _Watched(FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, told: Callable[[int, int], object]) -> None:
        super().__init__(_sought(path), "rb")
        self._told = told
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._told(self.tell(), self._size)
        return data


def _sought(path: Path) -> int:
    """A descriptor of the file; a pipe is copied first, since an upload states its length beforehand."""
    with path.open("rb") as file:
        if file.seekable():
            return os.dup(file.fileno())
        return _copy(path, file)


def _copy(path: Path, pipe: BinaryIO) -> int:
    try:
        with TemporaryFile() as copy:
            copy.writelines(_pieces(path, pipe))
            copy.seek(0)
            return os.dup(copy.fileno())
    except OSError as error:
        said = f"What comes through the pipe cannot be kept in {gettempdir()}: {error.strerror}"
        raise CommandError(Exit.USAGE, f"{said}; TMPDIR names another folder.") from None


def _pieces(path: Path, pipe: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := pipe.read(PIECE):
            yield piece
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> CommandError:
    return CommandError(Exit.USAGE, f"The file {path} cannot be read: {error.strerror}.")


def upload(client: httpx.Client, path: Path, told: Callable[[int, int], object]) -> str:
    """The uploaded file's id; `told` is called with the bytes sent and the size. Raises CommandError."""
    try:
        file = _Watched(path, told)
    except OSError as error:
        raise _unreadable(path, error) from None
    # A file's name may hold any bytes.
    name = os.fsencode(path.name).decode(errors="replace")
    with file, speaking(client):
        reply = client.post(FILES, data={"purpose": "batch"}, files={"file": (name, file)})
    check(reply)
    return str(parsed(reply)["id"])


def create(client: httpx.Client, file: str, endpoint: str, metadata: dict[str, str]) -> Batch:
    """Raises CommandError."""
    body = {"input_file_id": file, "endpoint": endpoint, "completion_window": WINDOW, "metadata": metadata}
    made: Batch = fetched(client, "POST", PATH, body=body)
    return made


def page(client: httpx.Client, *, limit: int, after: str | None) -> Batch:
    """A page of batches, newest first. Raises CommandError."""
    found: Batch = fetched(client, "GET", PATH, limit=limit, after=after)
    return found


def show(client: httpx.Client, batch: str) -> Batch:
    """Raises CommandError."""
    found: Batch = fetched(client, "GET", f"{PATH}/{segment(batch)}")
    return found


def cancel(client: httpx.Client, batch: str) -> Batch:
    """The batch after cancelling; a batch that has ended stays as it is. Raises CommandError."""
    found: Batch = fetched(client, "POST", f"{PATH}/{segment(batch)}/cancel")
    return found


def wait(client: httpx.Client, batch: str, told: Callable[[Batch], object]) -> Batch:
    """The batch at its end; `told` is called at each change. The service may be away for up to a minute.

    Raises CommandError.
    """
    seen, misses = show(client, batch), 0
    told(seen)
    while seen["status"] not in ENDED:
        time.sleep(PAUSE_S)
        try:
            now, misses = show(client, batch), 0
        except CommandError as error:
            misses += 1
            away = error.code == Exit.UNREACHABLE or isinstance(error, PassingError)
            if not away or misses > MOST_MISSES:
                raise
            continue
        if any(now[name] != seen[name] for name in ("status", "request_counts")):
            told(now)
        seen = now
    return seen


def download(client: httpx.Client, file: str, into: BinaryIO) -> None:
    """Raises CommandError where the transfer breaks off."""
    with speaking(client), client.stream("GET", f"{FILES}/{segment(file)}/content") as reply:
        check(reply)
        for piece in reply.iter_bytes(PIECE):
            into.write(piece)
