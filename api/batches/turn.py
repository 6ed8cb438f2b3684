"""One turn of work on a batch: scan its file, write rows of lines that have ended, take further ones, finish.

A turn is short and leaves nothing in memory that the next one needs, so any process may take the next.
"""

from collections.abc import Sequence

from api.batches.intake import LineIntake
from api.batches.lease import LeasedBatch
from api.batches.lines import Scan, scan
from api.batches.output import CANCELLED, EXPIRED, LOST, OutputWriter
from shared.batch import LineProblem
from shared.blobs import BlobMissingError
from shared.errors import Unavailable
from shared.result import JobError
from shared.store import batches

BUSY_S, IDLE_S = 0.25, 1.0
"""Pauses after a turn that did something, and after one that did not."""
MANY = 32
LONGEST_S = 5.0
"""Ended lines are written once there are MANY of them, or one is this old: each write makes a piece."""
DOUBLES_AT_ONCE = 4000
"""Lines that repeat a custom_id, told to the store in one call."""
PATIENCE_S = 600.0
"""Missing bytes may be in a folder that is mounted late: nothing is given up for so long."""


class BatchTurn:
    """One turn of a batch that is leased to this process."""

    def __init__(self, lease: LeasedBatch) -> None:
        self._lease = lease
        self._context = lease.context
        self._closing = self._why_closed()
        self._writing = OutputWriter(lease, self._closing)
        self._taking = LineIntake(lease)

    async def run(self) -> float:
        """Do what there is to do; returns seconds until the next turn. Raises LeaseLostError, Unavailable."""
        try:
            if self._lease.batch.total is None:
                await self._scan_file()
            elif self._all_written:
                await self._writing.finish()
            elif self._closing is not None:
                await self._writing.write()
            else:
                return await self._advance()
        except BlobMissingError as missing:
            await self._miss(missing)
        return 0.0

    @property
    def _all_written(self) -> bool:
        return self._lease.batch.written_at == self._lease.batch.last

    def _why_closed(self) -> JobError | None:
        batch = self._lease.batch
        if batch.stage == "cancelling":
            return CANCELLED
        if (batch.now_ms or 0) >= batch.expires_ms:
            return EXPIRED
        return LOST if batch.gone else None

    async def _miss(self, missing: BlobMissingError) -> None:
        """Handle missing bytes: the batch fails only if that discards nothing, or nothing can be saved."""
        batch, lease = self._lease.batch, self._lease.lease
        if batch.row and not batch.gone:
            missed_ms = (batch.now_ms or 0) - (batch.missing_ms or batch.now_ms or 0)
            await self._lease.write(batches.miss(lease, gone=missed_ms >= PATIENCE_S * 1000))
            message = f"The bytes {missing} are not in SIGHTLINE_BLOBS__URL."
            raise Unavailable("store_unavailable", message)
        await self._fail([LineProblem(LOST.code, LOST.message)])

    async def _fail(self, problems: Sequence[LineProblem]) -> None:
        await self._lease.write(batches.fail(self._context.settings, self._lease.lease, problems))

    async def _scan_file(self) -> None:
        scanned = await self._context.blobs.in_thread(self._scanned)
        if scanned.fatal:
            await self._fail(scanned.problems)
            return
        lease = self._lease.lease
        for at in range(0, len(scanned.doubles), DOUBLES_AT_ONCE):
            doubles = scanned.doubles[at : at + DOUBLES_AT_ONCE]
            await self._lease.write(batches.begin(lease, doubles=doubles))
        begin = batches.begin(lease, total=scanned.total, last=scanned.last, errors=scanned.problems)
        await self._lease.write(begin)

    def _scanned(self) -> Scan:
        batch = self._lease.batch
        if batch.question is not None:
            return Scan(batch.page_count, batch.page_count, (), (), fatal=False)
        with self._lease.open() as file:
            return scan(file, batch.endpoint, self._context.line_limit)

    async def _advance(self) -> float:
        wrote = await self._writing.write() if await self._worth_writing() else 0
        if self._all_written:
            return 0.0
        count = await self._taking.take()
        return BUSY_S if wrote or count else IDLE_S

    async def _worth_writing(self) -> bool:
        """Whether enough lines have ended: many, or some long ago, or all there are."""
        batch = self._lease.batch
        # Pages are read while the others are computed.
        since = batch.wrote_ms or batch.stages_ms.get("in_progress", 0)
        if batch.question is not None or (batch.now_ms or 0) - since >= LONGEST_S * 1000:
            return batch.row > batch.written
        all_taken = batch.at == batch.last
        probed = min(batch.written + MANY, batch.row)
        if probed == batch.written or (probed < batch.written + MANY and not all_taken):
            return False
        job = await self._writing.job(probed)
        return job is None or job.ended
