"""A batch leased to a process, and how the process learns that it has lost the lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import SEEK_END
from typing import BinaryIO, TypeVar

from api.admission.submission import Submission
from api.files import FileWriter
from shared.batch import BatchLease
from shared.blobs import BlobMissingError, Blobs
from shared.media.documents import DocumentRenderer
from shared.settings import Settings
from shared.store.batches import Outcome
from shared.store.script import AsyncStore, ScriptCall

# What work on batches needs.


@dataclass(frozen=True)
class BatchContext:
    """The parts of one API process that work on batches."""

    settings: Settings
    store: AsyncStore
    blobs: Blobs
    storing: FileWriter
    submission: Submission
    renderer: DocumentRenderer

    @property
    def line_limit(self) -> int:
        """Most bytes of one line: a line holds a call's body."""
        return int(self.settings.api.body_mb * 2**20)


T = TypeVar("T")


class LeaseLostError(Exception):
    """Another process has the batch now, or the batch has ended."""


@dataclass(frozen=True)
class LeasedBatch:
    """A context and the batch leased to it; each call of the store says whether the lease still holds."""

    context: BatchContext
    turn: BatchLease

    def open(self) -> BinaryIO:
        """The batch's file. Raises BlobMissingError, also for a truncated file, and BlobsUnavailable."""
        batch = self.turn.batch
        file = self.context.blobs.open(batch.digest)
        if file.seek(0, SEEK_END) < (batch.last or 0):
            file.close()
            raise BlobMissingError(batch.digest)
        file.seek(0)
        return file

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[BinaryIO]:
        """The file, opened off the event loop and always closed. Raises as `open`."""
        opening = asyncio.ensure_future(asyncio.to_thread(self.open))
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread is not cancelled, and opens a file that nobody would close.
            opening.add_done_callback(_close)
            raise
        with file:
            yield file

    async def read(self, call: ScriptCall[T | None]) -> T:
        """Raises LeaseLostError, Unavailable."""
        reply = await self.context.store.run(call)
        if reply is None:
            raise LeaseLostError
        return reply

    async def write(self, call: ScriptCall[Outcome]) -> None:
        """Raises LeaseLostError, Unavailable."""
        if await self.context.store.run(call) == "lost":
            raise LeaseLostError


def _close(opened: asyncio.Future[BinaryIO]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()
