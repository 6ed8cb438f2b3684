"""Blobs in an object store: S3 and compatible ones, Google Cloud Storage, Azure Blob Storage.

Region, endpoint and credentials come from the environment as each cloud's own tools read it (AWS_…, GOOGLE_…,
AZURE_…): they are the client's settings, not ours."""

import io
import os
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from shared.blobs.errors import GONE, finding, keeping, reason
from shared.blobs.staged import Staged
from shared.settings import SettingsError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from typing_extensions import Buffer


class Ranged(io.RawIOBase):
    """An object as a seekable file: each read is one request for its range, so put a buffer around it."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        self._store = store
        self._path = path
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readall(self) -> bytes:
        """In one request; the base class makes one for each 8 KiB."""
        return self.read(max(self._size - self._at, 0)) or b""

    def readinto(self, buffer: "Buffer") -> int:
        """Raises BlobMissingError, BlobsUnavailable."""
        into = memoryview(buffer)
        end = min(self._at + len(into), self._size)
        if end <= self._at:
            return 0
        with finding(self._path):
            piece = obstore.get_range(self._store, self._path, start=self._at, end=end)
        count = end - self._at
        into[:count] = memoryview(piece)
        self._at = end
        return count


# Limits of one request and of its retries: a caller hears after half a minute at the latest. `allow_http`
# only permits an endpoint that the operator set to http: the clouds' own are https.
CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=3),
    "timeout": timedelta(seconds=20),
    "allow_http": True,
}
RETRY: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
}
PIECE = 4 * 2**20
"""Bytes read by one request of a download: each ends in time, however slowly the reader reads."""
BUFFER = 2**20
PART, PARTS_AT_ONCE = 8 * 2**20, 2
"""An upload's parts, which are in memory meanwhile."""


class Bucket:
    """What an object store does in its own way. Paths are relative to the URL's."""

    piece = PIECE

    def __init__(self, url: str) -> None:
        """Makes no request yet. Raises SettingsError for a URL or environment that names no store."""
        self.kind = url.partition(":")[0]
        try:
            self.store: ObjectStore = from_url(url, client_options=CLIENT, retry_config=RETRY)
        except (BaseError, ValueError) as error:
            raise SettingsError(f"SIGHTLINE_BLOBS__URL: no such store can be made: {reason(error)}") from None

    def probe(self) -> bool:
        """True if it can be read: only a write tells whether we may write. Raises BaseError, OSError."""
        obstore.list_with_delimiter(self.store)
        return True

    def open(self, path: str) -> BinaryIO:
        """Reads a megabyte at a time. Raises BlobMissingError, BlobsUnavailable, also later."""
        with finding(path):
            size = self.size(path)
        return io.BufferedReader(Ranged(self.store, path, size), BUFFER)

    def unmounted(self) -> bool:
        """Never: a bucket that is not there says so."""
        return False

    def size(self, path: str) -> int:
        """Raises BaseError."""
        try:
            return obstore.head(self.store, path)["size"]
        except GONE:
            # The answer to a HEAD has no body: only that to a GET says that the bucket itself is missing.
            return obstore.get(self.store, path).meta["size"]

    def stage(self, path: str) -> Staged:  # noqa: ARG002 - a folder needs it
        """On this machine's disk (TMPDIR): the object's name is known only at the end."""
        return Staged()

    def adopt(self, staged: Staged, path: str) -> None:
        """The store shows the object only once it has all of it."""
        with keeping():
            staged.file.seek(0)
            obstore.put(self.store, path, staged.file, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    def refresh(self, path: str) -> None:
        """Nothing to do: a move is a copy here, and a copy is new."""

    def now(self, path: str) -> datetime:
        """By an object at `path`, which is gone again. Raises BlobsUnavailable."""
        with keeping():
            obstore.put(self.store, path, b"")
            try:
                return obstore.head(self.store, path)["last_modified"]
            finally:
                with suppress(*GONE):
                    obstore.delete(self.store, path)

    def sweep(self, age_s: float) -> int:  # noqa: ARG002 - a folder needs it
        """Nothing to do: the bucket itself ends unfinished uploads (docs/object-store.md)."""
        return 0
