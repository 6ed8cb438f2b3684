"""A batch leased to a process, and how the process learns that it has lost the lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import SEEK_END
from typing import BinaryIO, TypeVar

from api.admission.submission import Submission
from api.files import FileWriter
from shared.batch import WINDOW_S, Batch, BatchLease
from shared.blobs import BlobMissingError, Blobs
from shared.media.documents import DocumentRenderer
from shared.settings import Settings
from shared.store.batches import Outcome
from shared.store.script import AsyncStore, ScriptCall

READ_S = 3600
"""A batch reads answers for so long after its window has closed."""


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


@dataclass
class LeasedBatch:
    """A batch leased to this process, as it stands after the steps so far.

    Each call of the store says whether the lease still holds.
    """

    context: BatchContext
    lease: BatchLease
    batch: Batch

    @property
    def line_till(self) -> int:
        """Until when answers of lines are stored for the batch (Unix ms); 0 where they live long anyway."""
        kept_s = self.batch.retain_s or WINDOW_S
        short = min(kept_s, self.context.settings.retention.result_s) < WINDOW_S
        return self.batch.expires_ms + READ_S * 1000 if short else 0

    def open(self) -> BinaryIO:
        """The batch's file. Raises BlobMissingError, also for a truncated file, and BlobsUnavailable."""
        file = self.context.blobs.open(self.batch.digest)
        if file.seek(0, SEEK_END) < (0 if self.batch.question else self.batch.last or 0):
            file.close()
            raise BlobMissingError(self.batch.digest)
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
