"""The background work on batches: every API process takes up the batch whose turn it is, under a lease.

When a process dies, its batches go to others once their leases run out."""

import asyncio
import logging
from contextlib import suppress

from api.batches.intake import LineIntake, Scan, scan
from api.batches.lease import BatchContext, LeasedBatch, LeaseLostError
from api.batches.output import CANCELLED, EXPIRED, LOST, BatchCloser, OutputWriter
from api.batches.pages import page_numbers
from shared import ids
from shared.batch import BatchLease, LineProblem
from shared.blobs import BlobMissingError
from shared.errors import Unavailable
from shared.result import JobError
from shared.store import batches, jobs

# One turn of work on a batch: scan its file, take lines, write the answers of ended ones, finish.
#
# A turn is short and leaves nothing in memory that the next one needs, so any process may take the next.

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
        self._turn = lease.turn
        self._batch = lease.turn.batch
        self._closing = self._why_closed()
        self._writing = OutputWriter(lease, self._closing)
        self._taking = LineIntake(lease)

    async def run(self) -> float:
        """Do what there is to do; returns seconds until the next turn. Raises LeaseLostError, Unavailable."""
        try:
            if self._batch.total is None:
                await self._scan_file()
            elif self._joins:
                await self._writing.finish()
            elif self._closing is not None:
                await self._close(self._closing)
            else:
                return await self._advance()
        except BlobMissingError as missing:
            await self._miss(missing)
        return 0.0

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
            await self._lease.write(batches.miss(self._turn, PATIENCE_S))
            message = f"The bytes {missing} are not in SIGHTLINE_BLOBS__URL."
            raise Unavailable("store_unavailable", message)
        problem = LineProblem(LOST.code, LOST.message)
        await self._lease.write(batches.fail(self._context.settings, self._turn, [problem]))

    async def _scan_file(self) -> None:
        scanned = await self._context.blobs.in_thread(self._scanned)
        if scanned.fatal:
            await self._lease.write(batches.fail(self._context.settings, self._turn, scanned.problems))
            return
        for at in range(0, len(scanned.doubles), DOUBLES_AT_ONCE):
            doubles = scanned.doubles[at : at + DOUBLES_AT_ONCE]
            await self._lease.write(batches.begin(self._turn, doubles=doubles))
        begin = batches.begin(self._turn, total=scanned.total, last=scanned.last, errors=scanned.problems)
        await self._lease.write(begin)

    def _scanned(self) -> Scan:
        if self._batch.question is not None:
            total = len(page_numbers(self._batch))
            return Scan(total, total, (), (), fatal=False)
        with self._lease.open() as file:
            return scan(file, self._batch.endpoint, self._context.line_limit)

    async def _advance(self) -> float:
        wrote = await self._writing.write() if self._worth_writing() else 0
        count = await self._taking.take() if self._turn.room and self._batch.at != self._batch.last else 0
        return BUSY_S if wrote or count else IDLE_S

    def _worth_writing(self) -> bool:
        """Whether enough lines have ended: many, or some long ago, or all there are."""
        answered, batch = self._turn.answered, self._batch
        # Pages are read while the others are computed.
        if not answered or answered >= MANY or batch.question is not None:
            return bool(answered)
        waited_ms = self._turn.now_ms - (batch.wrote_ms or batch.stages_ms.get("in_progress", 0))
        all_taken = batch.at == batch.last
        return waited_ms >= LONGEST_S * 1000 or (all_taken and answered == self._turn.under_way)

    async def _close(self, why: JobError) -> None:
        """Cancel the jobs under way, refuse the lines that were not taken, keep the answers there are.

        A large batch takes several turns.
        """
        settings, caller, lost = self._context.settings, self._batch.caller, []
        for job, number in (await self._lease.read(batches.under_way(self._turn))).items():
            if await self._context.store.run(jobs.cancel(settings, caller, job)) is None:
                lost.append(number)
        if lost:
            await self._lease.write(batches.lose(settings, self._turn, lost))
        await self._writing.write()
        await BatchCloser(self._lease, self._writing, why).refuse()


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
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._add(asyncio.create_task(self._go_round(), name="batches"))

    def wake(self) -> None:
        """Look now: there is something to do."""
        self._heard.set()

    async def aclose(self) -> None:
        """Stop; batches under way go to other processes when their leases end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_round(self) -> None:
        while True:
            await self._free.acquire()
            lease = await self._next_lease()
            if isinstance(lease, BatchLease):
                self._add(asyncio.create_task(self._work(lease), name=f"batch {lease.batch.id}"))
                continue
            self._free.release()
            # `wait_for` would lose a cancellation that comes at the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(lease):
                    await self._heard.wait()
            self._heard.clear()

    async def _next_lease(self) -> BatchLease | float:
        """A batch to work on, or after how many seconds to look again."""
        try:
            turn = await self._context.store.run(batches.take(self._context.settings, ids.token()))
        except Unavailable as error:
            log.warning("batches wait: %s", error.message)
            return LOOK_S
        except Exception:
            # The outermost frame of a round: a bad record must not end the work on all batches.
            log.exception("no batch could be taken up")
            return LOOK_S
        return turn if isinstance(turn, BatchLease) else min(LOOK_S, LOOK_S if turn is None else turn)

    async def _work(self, turn: BatchLease) -> None:
        work = asyncio.current_task()
        keeping = asyncio.create_task(self._keep(turn, work))
        try:
            pause_s = await BatchTurn(LeasedBatch(self._context, turn)).run()
            await self._context.store.run(batches.renew(turn, pause_s, leave=True))
        except LeaseLostError:
            log.info("batch %s is another process's, or has ended", turn.batch.id)
        except Unavailable as error:
            log.warning("batch %s waits: %s", turn.batch.id, error.message)
        except Exception:
            # The outermost frame of a turn: the batch comes up again when its lease ends.
            log.exception("the work on batch %s failed", turn.batch.id)
        finally:
            keeping.cancel()
            self._free.release()
            self.wake()

    async def _keep(self, turn: BatchLease, work: "asyncio.Task[None] | None") -> None:
        """Renew the lease while this process works on the batch; stop the work where the lease is lost."""
        while True:
            await asyncio.sleep(batches.LEASE_S / 3)
            try:
                if await self._context.store.run(batches.renew(turn, batches.LEASE_S)) == "lost" and work:
                    work.cancel()
            except Exception:
                # Were this task to end, another process would do the same work; this one says why it waits.
                log.debug("the lease of batch %s is not renewed yet", turn.batch.id, exc_info=True)

    def _add(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
