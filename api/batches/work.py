"""One turn of work on a batch: look through its file, take lines, write down what has ended, finish.

A turn is short and leaves nothing in memory that the next one needs, so that any process may have it.
"""

import asyncio

from api.batches.bench import LeasedBatch
from api.batches.closing import Closing
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
"""What has ended is written down when it is so many lines, or this old: each time makes a piece."""
PATIENCE_S = 600.0
"""A folder without the bytes may be one that is mounted late: so long nothing is given up for it."""


class Work:
    """A batch in the hands of this process."""

    def __init__(self, held: LeasedBatch) -> None:
        self._held = held
        self._bench = held.bench
        self._turn = held.turn
        self._batch = held.turn.batch
        self._closing = self._why_closed()
        self._writing = Writing(held, self._closing)
        self._taking = Taking(held)

    async def run(self) -> float:
        """Do what there is to do; seconds until the next look. Raises LeaseLostError, Unavailable."""
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
        """Whether this turn puts many pieces together, one after another."""
        return self._joins and self._turn.pieces > MANY

    @property
    def _joins(self) -> bool:
        """Whether nothing is left to do but that."""
        batch = self._batch
        return batch.total is not None and batch.at == batch.last and not self._turn.under_way

    def _why_closed(self) -> JobError | None:
        if self._batch.stage == "cancelling":
            return CANCELLED
        if self._turn.now_ms >= self._batch.expires_ms:
            return EXPIRED
        return LOST if self._batch.gone else None

    async def _miss(self, missing: BlobMissingError) -> None:
        """Bytes are not there: only where nothing is thrown away by it, or nothing can be saved, it fails."""
        if self._batch.row and not self._batch.gone:
            await self._held.write(batches.miss(self._turn, PATIENCE_S))
            message = f"The bytes {missing} are not in SIGHTLINE_BLOBS__URL."
            raise Unavailable("store_unavailable", message)
        problem = LineProblem(LOST.code, LOST.message)
        await self._held.write(batches.fail(self._bench.settings, self._turn, [problem]))

    async def _look_through(self) -> None:
        found = await asyncio.to_thread(self._scanned)
        if found.fatal:
            await self._held.write(batches.fail(self._bench.settings, self._turn, found.problems))
            return
        begin = batches.begin(
            self._turn, total=found.total, last=found.last, doubles=found.doubles, errors=found.problems
        )
        await self._held.write(begin)

    def _scanned(self) -> Scan:
        with self._held.open() as file:
            return scan(file, self._batch.endpoint, self._bench.line_limit)

    async def _go_on(self) -> float:
        wrote = await self._writing.write() if self._worth_writing() else 0
        taken = await self._taking.take() if self._turn.room and self._batch.at != self._batch.last else 0
        return BUSY_S if wrote or taken else IDLE_S

    def _worth_writing(self) -> bool:
        """Many lines, or some that wait for long, or all there are."""
        answered, batch = self._turn.answered, self._batch
        if not answered or answered >= MANY:
            return bool(answered)
        waited_ms = self._turn.now_ms - (batch.wrote_ms or batch.stages_ms.get("in_progress", 0))
        all_taken = batch.at == batch.last
        return waited_ms >= LONGEST_S * 1000 or (all_taken and answered == self._turn.under_way)

    async def _close(self, why: JobError) -> None:
        """What is under way is left where it is; what was not taken is refused; what was done is kept.

        The rest of a large batch is for its next turns.
        """
        for job in await self._held.read(batches.under_way(self._turn)):
            await self._bench.store.run(jobs.cancel(self._bench.settings, self._batch.caller, job))
        await self._writing.write()
        await Closing(self._held, self._writing, why).refuse()
