"""An object of an object store as a readable, seekable file that is never whole in memory."""

import io
import os
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore

from shared.blobs.errors import finding

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Ranged(io.RawIOBase):
    """Each read is one request for its range: put a buffer around it. Objects never change."""

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
