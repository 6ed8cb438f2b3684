"""Blobs in a folder, which all processes see: of one machine, or mounted by several."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import obstore
from obstore.store import LocalStore

from shared.blobs.errors import finding
from shared.blobs.staged import Staged


class Folder:
    """What a folder does in its own way. Paths are relative to it."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.store = LocalStore(prefix=path)

    def open(self, path: str) -> BinaryIO:
        """Goes on being readable when it is deleted. Raises BlobMissingError, BlobsUnavailable."""
        with finding(path):
            return (self._path / path).open("rb")

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """In pieces of a megabyte. Raises BlobMissingError and BlobsUnavailable before the first."""
        with finding(path):
            found = await obstore.get_async(self.store, path)
        return (bytes(piece) async for piece in found.stream(min_chunk_size=2**20))

    def stage(self, path: str) -> Staged:
        """Beside the others: renamed, not copied. One that a dead process leaves is collected."""
        return Staged(self._path / path)

    def adopt(self, staged: Staged, path: str) -> None:
        own = cast(Path, staged.path).relative_to(self._path)
        with finding(path):
            obstore.rename(self.store, str(own), path)

    def refresh(self, path: str) -> None:
        """As good as new, so that nobody collects it."""
        with suppress(FileNotFoundError), finding(path):
            os.utime(self._path / path)
