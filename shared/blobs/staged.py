"""Bytes that come in pieces and are hashed as they come; at the end they get their name (`Blobs.adopt`)."""

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from shared.blobs.errors import keeping


class Staged:
    """A file of this machine. Without a path it has no name, and is gone with its process.

    On disk, not in memory: it may be a gigabyte, and nobody may see half of it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        with keeping():
            if path is None:
                self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `discard`
            else:
                path.parent.mkdir(exist_ok=True)
                self.file = path.open("w+b")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises BlobsUnavailable."""
        with keeping():
            self.file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Flush what was written: a full disk shows here at the latest. Raises BlobsUnavailable."""
        with keeping():
            self.file.flush()

    def read(self) -> bytes:
        """All of it. Raises BlobsUnavailable."""
        with keeping():
            self.file.seek(0)
            return self.file.read()

    def discard(self) -> None:
        """Drop the file; harmless once it was adopted."""
        # Closing writes what is left, which may not fit either.
        with suppress(OSError):
            self.file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
