"""The background work on batches: every API process takes up the batch whose turn it is, under a lease.

When a process dies, its batches go to others once their leases run out."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from api.batches.intake import LineIntake
from api.batches.lease import BatchContext, LeasedBatch, LeaseLostError
from api.batches.lines import Scan, scan
from api.batches.output import CANCELLED, EXPIRED, LOST, OutputWriter
from shared import ids
from shared.batch import BatchLease, LineProblem
from shared.blobs import BlobMissingError
from shared.errors import Unavailable
from shared.result import JobError
from shared.store import batches, claims
from shared.store.claims import Claim
from shared.store.keys import BATCH

# One turn of work on a batch: scan its file, write rows of lines that have ended, take further ones, finish.
#
# A turn is short and leaves nothing in memory that the next one needs, so any process may take the next.

BUSY_S, IDLE_S = 0.25, 1.0
"""Pauses after a turn that did something, and after one that did not."""
MANY = 32
LONGEST_S = 5.0
"""Ended lines are written once there are MANY of them, or one is this old: each write makes a piece."""
LATER_S = 10.0
"""Pause after a turn that failed."""
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


log = logging.getLogger("api.batches")
AT_ONCE = 2
"""Batches that one process works on at the same time."""
LOOK_S = 2.0
"""How often to look where no batch is known to be due: one may be made at another process."""


class BatchRunner:
    """The background task of an API process."""

    def __init__(self, context: BatchContext) -> None:
        self._context = context
        self._heard = asyncio.Event()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._process = ids.worker_id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def start(self) -> None:
        self._add(asyncio.create_task(self._go_round(), name="batches"))
        self._add(asyncio.create_task(self._renew(), name="leases of batches"))

    def wake(self) -> None:
        """Look now: there is something to do."""
        self._heard.set()

    async def aclose(self) -> None:
        """Stop; batches under way go to other processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_round(self) -> None:
        while True:
            await self._free.acquire()
            claim = await self._claim()
            if claim is not None:
                task = asyncio.create_task(self._work(claim), name=f"batch {claim.id}")
                self._held[claim.token] = claim.id, task
                self._add(task)
                continue
            self._free.release()
            # `wait_for` would lose a cancellation that comes at the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._heard.wait()
            self._heard.clear()

    async def _claim(self) -> Claim | None:
        """A batch to work on."""
        call = claims.claim(
            self._context.settings, lane=BATCH, worker=self._process, token=ids.token(), fingerprint=""
        )
        try:
            return await self._context.store.run(call)
        except Unavailable as error:
            log.warning("batches wait: %s", error.message)
        except Exception:
            # The outermost frame of a round: a bad record must not end the work on all batches.
            log.exception("no batch could be taken up")
        return None

    async def _work(self, claim: Claim) -> None:
        lease, pause_s, found = BatchLease(claim.id, claim.token), 0.0, True
        try:
            batch = await self._context.store.run(batches.leased(lease))
            if batch is None:
                raise LeaseLostError
            pause_s = await BatchTurn(LeasedBatch(self._context, lease, batch)).run()
        except LeaseLostError:
            log.debug("batch %s is another process's, or has ended", claim.id)
            return
        except Unavailable as error:
            log.warning("batch %s waits: %s", claim.id, error.message)
            pause_s, found = LATER_S, False
        except Exception:
            # The outermost frame of a turn.
            log.exception("the work on batch %s failed", claim.id)
            pause_s = LATER_S
        finally:
            del self._held[claim.token]
            self._free.release()
            await self._give_back(lease, pause_s, found=found)

    async def _give_back(self, lease: BatchLease, pause_s: float, *, found: bool) -> None:
        with suppress(Unavailable):
            call = batches.give_back(self._context.settings, lease, pause_s, found=found)
            await self._context.store.run(call)
        asyncio.get_running_loop().call_later(pause_s, self.wake)

    async def _renew(self) -> None:
        """Renew the leases of batches that this process works on; stop the work where one is lost."""
        while True:
            await asyncio.sleep(self._context.settings.queue.renew_s)
            if not self._held:
                continue
            leases = [(id, token) for token, (id, _) in self._held.items()]
            try:
                renewal = claims.renew(self._context.settings, self._process, leases)
                lost = await self._context.store.run(renewal)
            except Exception:
                # Were this task to end, another process would do the same work; turns say why they wait.
                log.debug("the leases of batches are not renewed yet", exc_info=True)
                continue
            for token in lost:
                if token in self._held:
                    self._held[token][1].cancel()

    def _add(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
