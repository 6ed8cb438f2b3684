"""Blobs in a folder that all processes see: on one machine, or mounted by several."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

import obstore
from obstore.store import LocalStore

from shared.blobs.errors import finding, keeping
from shared.blobs.staged import Staged


class Folder:
    """What a folder does in its own way. Paths are relative to it."""

    kind = "folder"
    piece = 2**20
    """Bytes that are read at once to be handed out."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.store = LocalStore(prefix=path)

    def probe(self) -> bool:
        """Whether our rights and its mount let us write. Raises OSError.

        obstore is not asked: it takes a folder that is gone for an empty one.
        """
        os.scandir(self._path).close()
        return os.access(self._path, os.W_OK | os.X_OK)

    def unmounted(self) -> bool:
        """Whether it never held a blob, like a place where nothing is mounted yet."""
        try:
            return not any(entry.is_dir() for entry in self._path.iterdir())
        except FileNotFoundError:
            return True

    def size(self, path: str) -> int:
        """Raises FileNotFoundError, OSError."""
        return (self._path / path).stat().st_size

    def open(self, path: str) -> BinaryIO:
        """The file stays readable when the blob is deleted. Raises BlobMissingError, BlobsUnavailable."""
        with finding(path):
            return (self._path / path).open("rb")

    def stage(self, path: str) -> Staged:
        """Beside the blobs, to be renamed and not copied. What a dead process leaves is collected."""
        return Staged(self._path / path)

    def adopt(self, staged: Staged, path: str) -> None:
        # Its record is on the disk within a second: it must not name a file that is not.
        with keeping():
            os.fsync(staged.file.fileno())
        own = cast(Path, staged.path).relative_to(self._path)
        with finding(path):
            obstore.rename(self.store, str(own), path)

    def refresh(self, path: str) -> None:
        """Let the blob's age begin anew, so that nobody collects it."""
        with suppress(FileNotFoundError), finding(path):
            os.utime(self._path / path)

    def now(self, path: str = "") -> datetime:  # noqa: ARG002 - an object store needs it
        """Raises BlobsUnavailable."""
        with keeping():
            # Needs no room on the disk.
            os.utime(self._path)
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)

    def sweep(self, age_s: float) -> int:
        """Delete what processes left that died while writing: `ab/abcd…#1`, which no list shows."""
        count = 0
        with finding("all"):
            before = self.now().timestamp() - age_s
            for half in self._path.glob("*/*#*"):
                # Its writer may have finished it meanwhile.
                with suppress(FileNotFoundError):
                    if half.stat().st_mtime < before:
                        half.unlink()
                        count += 1
        return count
