"""One turn of work on a batch: scan its file, take lines, write the answers of ended ones, finish.

A turn is short and leaves nothing in memory that the next one needs, so any process may take the next.
"""

import asyncio

from api.batches.closing import Closing
from api.batches.leased_batch import LeasedBatch
from api.batches.lines import Scan, scan
from api.batches.taking import Taking
from api.batches.writing import CANCELLED, EXPIRED, LOST, Writing
from shared.batch import LineProblem
from shared.blobs import BlobMissingError
from shared.errors import Unavailable
from shared.result import JobError
from shared.store import batches, jobs

BUSY_S, IDLE_S = 0.25, 1.0
"""Pauses after a turn that did something, and after one that did not."""
MANY = 32
LONGEST_S = 5.0
"""Ended lines are written once there are MANY of them, or one is this old: each write makes a piece."""
PATIENCE_S = 600.0
"""Missing bytes may be in a folder that is mounted late: nothing is given up for so long."""


class Work:
    """One turn of a batch that is leased to this process."""

    def __init__(self, held: LeasedBatch) -> None:
        self._held = held
        self._context = held.context
        self._turn = held.turn
        self._batch = held.turn.batch
        self._closing = self._why_closed()
        self._writing = Writing(held, self._closing)
        self._taking = Taking(held)

    async def run(self) -> float:
        """Do what there is to do; returns seconds until the next turn. Raises LeaseLostError, Unavailable."""
        try:
            if self._batch.total is None:
                await self._look_through()
            elif self._joins:
                await self._writing.finish()
            elif self._closing is not None:
                await self._close(self._closing)
            else:
                return await self._go_on()
        except BlobMissingError as missing:
            await self._miss(missing)
        return 0.0

    @property
    def long(self) -> bool:
        """Whether this turn joins many pieces, one after another."""
        return self._joins and self._turn.pieces > MANY

    @property
    def _joins(self) -> bool:
        """Whether nothing is left to do but to join the pieces."""
        batch = self._batch
        return batch.total is not None and batch.at == batch.last and not self._turn.under_way

    def _why_closed(self) -> JobError | None:
        if self._batch.stage == "cancelling":
            return CANCELLED
        if self._turn.now_ms >= self._batch.expires_ms:
            return EXPIRED
        return LOST if self._batch.gone else None

    async def _miss(self, missing: BlobMissingError) -> None:
        """Handle missing bytes: the batch fails only if that discards nothing, or nothing can be saved."""
        if self._batch.row and not self._batch.gone:
            await self._held.write(batches.miss(self._turn, PATIENCE_S))
            message = f"The bytes {missing} are not in SIGHTLINE_BLOBS__URL."
            raise Unavailable("store_unavailable", message)
        problem = LineProblem(LOST.code, LOST.message)
        await self._held.write(batches.fail(self._context.settings, self._turn, [problem]))

    async def _look_through(self) -> None:
        found = await asyncio.to_thread(self._scanned)
        if found.fatal:
            await self._held.write(batches.fail(self._context.settings, self._turn, found.problems))
            return
        begin = batches.begin(
            self._turn, total=found.total, last=found.last, doubles=found.doubles, errors=found.problems
        )
        await self._held.write(begin)

    def _scanned(self) -> Scan:
        with self._held.open() as file:
            return scan(file, self._batch.endpoint, self._context.line_limit)

    async def _go_on(self) -> float:
        wrote = await self._writing.write() if self._worth_writing() else 0
        taken = await self._taking.take() if self._turn.room and self._batch.at != self._batch.last else 0
        return BUSY_S if wrote or taken else IDLE_S

    def _worth_writing(self) -> bool:
        """Whether enough lines have ended: many, or some long ago, or all there are."""
        answered, batch = self._turn.answered, self._batch
        if not answered or answered >= MANY:
            return bool(answered)
        waited_ms = self._turn.now_ms - (batch.wrote_ms or batch.stages_ms.get("in_progress", 0))
        all_taken = batch.at == batch.last
        return waited_ms >= LONGEST_S * 1000 or (all_taken and answered == self._turn.under_way)

    async def _close(self, why: JobError) -> None:
        """Cancel the jobs under way, refuse the lines that were not taken, keep the answers there are.

        A large batch takes several turns.
        """
        for job in await self._held.read(batches.under_way(self._turn)):
            await self._context.store.run(jobs.cancel(self._context.settings, self._batch.caller, job))
        await self._writing.write()
        await Closing(self._held, self._writing, why).refuse()
