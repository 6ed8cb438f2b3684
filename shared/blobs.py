"""Where pictures and files lie: under their sha256, in a folder.

Digests are internal: callers never see or send one. Writing the same bytes twice is harmless.
"""

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore

from shared.errors import Unavailable
from shared.settings import BlobSettings


def digest(data: bytes) -> str:
    """The name of some bytes: their sha256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


GONE = (NotFoundError, FileNotFoundError)
"""obstore's folder raises the second, its object stores the first."""


class BlobMissingError(Exception):
    """What a record names is not in the store."""


@contextmanager
def keeping() -> Iterator[None]:
    """Around what writes. Raises Unavailable `store_unavailable`: a full disk is not the caller's mistake."""
    try:
        yield
    except (OSError, BaseError) as error:
        message = "Pictures and files cannot be kept now; try again later."
        raise Unavailable("store_unavailable", message, retry_after=30) from error


def unused_name() -> str:
    """A name that no bytes have: what lies under one is collected some time, since nobody needs it."""
    return secrets.token_hex(32)


class Staged:
    """A file that grows, and is hashed meanwhile; it gets its name at its end (`Blobs.adopt`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        with keeping():
            path.parent.mkdir(exist_ok=True)
            self._file = path.open("wb")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises Unavailable."""
        with keeping():
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Raises Unavailable."""
        with keeping():
            self._file.close()

    def discard(self) -> None:
        # What is still to be written may not fit either.
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """Reads and writes bytes by digest."""

    def __init__(self, settings: BlobSettings) -> None:
        self._folder = Path(settings.url)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store: ObjectStore = LocalStore(prefix=self._folder)

    def read(self, name: str) -> bytes:
        """Raises BlobMissingError."""
        try:
            return bytes(obstore.get(self._store, _path(name)).bytes())
        except GONE:
            raise BlobMissingError(name) from None

    def open(self, name: str) -> BinaryIO:
        """Goes on being readable when it is deleted. Raises BlobMissingError."""
        try:
            return (self._folder / _path(name)).open("rb")
        except FileNotFoundError:
            raise BlobMissingError(name) from None

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """The bytes in pieces of a megabyte. Raises BlobMissingError before the first."""
        try:
            found = await obstore.get_async(self._store, _path(name))
        except GONE:
            raise BlobMissingError(name) from None
        return (bytes(piece) async for piece in found.stream(min_chunk_size=2**20))

    def stage(self) -> Staged:
        """A new file to write into. One that a dead process leaves is collected."""
        return Staged(self._folder / _path(unused_name()))

    def adopt(self, staged: Staged) -> None:
        """Give what was staged the name of its bytes."""
        staged.close()
        self.rename(staged.path.name, staged.digest)

    def rename(self, name: str, other: str) -> None:
        """Raises BlobMissingError."""
        try:
            obstore.rename(self._store, _path(name), _path(other))
        except GONE:
            raise BlobMissingError(name) from None

    def write(self, name: str, data: bytes) -> None:
        """Raises Unavailable."""
        with keeping():
            obstore.put(self._store, _path(name), data)

    async def write_async(self, name: str, data: bytes) -> None:
        """Raises Unavailable."""
        with keeping():
            await obstore.put_async(self._store, _path(name), data)

    def set_aside(self, name: str) -> str:
        """Take bytes away so that they can be put back (`rename`). Raises BlobMissingError.

        They are as good as new under their name for the time being, so that nobody collects them meanwhile.
        """
        aside = unused_name()
        with suppress(FileNotFoundError):
            os.utime(self._folder / _path(name))
        self.rename(name, aside)
        return aside

    def older(self, age_s: float, count: int) -> Iterator[list[str]]:
        """The names of what was written that long ago, out of `count` at a time."""
        for chunk in obstore.list(self._store, chunk_size=count):
            before = datetime.now(UTC) - timedelta(seconds=age_s)
            yield [entry["path"].rpartition("/")[2] for entry in chunk if entry["last_modified"] < before]

    def delete(self, name: str) -> None:
        """What is gone already is no error."""
        with suppress(*GONE):
            obstore.delete(self._store, _path(name))


def _path(name: str) -> str:
    return f"{name[:2]}/{name}"
