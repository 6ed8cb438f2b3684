"""Where pictures lie: under their sha256, in a folder.

Digests are internal: callers never see or send one. Writing the same bytes twice is harmless.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, ObjectStore

from shared.settings import BlobSettings


def digest(data: bytes) -> str:
    """The name of some bytes: their sha256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


GONE = (NotFoundError, FileNotFoundError)
"""obstore's folder raises the second, its object stores the first."""


class BlobMissingError(Exception):
    """A picture that a record names is not in the store."""


class Blobs:
    """Reads and writes pictures by digest."""

    def __init__(self, settings: BlobSettings) -> None:
        folder = Path(settings.url)
        folder.mkdir(parents=True, exist_ok=True)
        self._store: ObjectStore = LocalStore(prefix=folder)

    def read(self, name: str) -> bytes:
        """Raises BlobMissingError."""
        try:
            return bytes(obstore.get(self._store, _path(name)).bytes())
        except GONE:
            raise BlobMissingError(name) from None

    def write(self, name: str, data: bytes) -> None:
        obstore.put(self._store, _path(name), data)

    async def write_async(self, name: str, data: bytes) -> None:
        await obstore.put_async(self._store, _path(name), data)

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
