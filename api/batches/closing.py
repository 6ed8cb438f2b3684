"""Writes the lines of a closed batch that were never taken into its error file, some thousand a turn."""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from api.batches.leased_batch import LeasedBatch
from api.batches.lines import entry_of, lines
from api.batches.writing import Writing
from shared.batch import LineAnswer
from shared.result import JobError

AT_ONCE = 1000
"""Lines that are written in one step."""
TURN_S = 1.0
"""How long a turn may keep other batches waiting."""


class Closing:
    """Refuses the lines of one batch that were not taken, and says why. One instance per turn."""

    def __init__(self, held: LeasedBatch, writing: Writing, why: JobError) -> None:
        self._held = held
        self._batch = held.turn.batch
        self._writing = writing
        self._why = why

    async def refuse(self) -> None:
        """Write the next lines, as many as there is time for, and at least one if any is left.

        Raises LeaseLostError, Unavailable, BlobMissingError.
        """
        if self._batch.gone:
            await self._go_on(self._unread())
            return
        async with self._held.opened() as file:
            await self._go_on(self._read(file))

    async def _go_on(self, undone: Iterator[LineAnswer]) -> None:
        until = time.monotonic() + TURN_S
        while found := await asyncio.to_thread(_some, undone, until):
            await self._writing.refuse(found, self._why)
            if time.monotonic() >= until:
                break

    def _read(self, file: BinaryIO) -> Iterator[LineAnswer]:
        batch, limit = self._batch, self._held.context.line_limit
        for line in lines(file, batch.at, batch.row, limit):
            custom_id = entry_of(line, batch.endpoint, limit).custom_id
            yield LineAnswer(line.number, custom_id, "refused", at=line.at, behind=line.behind)

    def _unread(self) -> Iterator[LineAnswer]:
        """The next lines where the file is gone: as many as are left, each as if it had one byte."""
        batch = self._batch
        left = (batch.total or 0) - batch.completed - batch.failed - self._held.turn.under_way
        for number in range(1, left + 1):
            behind = batch.at + number if number < left else batch.last or 0
            yield LineAnswer(batch.row + number, None, "refused", at=batch.at + number - 1, behind=behind)


def _some(undone: Iterator[LineAnswer], until: float) -> list[LineAnswer]:
    found = []
    for line in islice(undone, AT_ONCE):
        found.append(line)
        if time.monotonic() >= until:
            break
    return found
