"""The background work on batches: every API process takes up the batch whose turn it is, under a lease.

When a process dies, its batches go to others once their leases run out.
"""

import asyncio
import logging
from contextlib import suppress

from api.batches.lease import BatchContext, LeasedBatch, LeaseLostError
from api.batches.turn import BatchTurn
from shared import ids
from shared.batch import BatchLease
from shared.errors import Unavailable
from shared.store import batches, claims
from shared.store.claims import Claim
from shared.store.keys import BATCH

log = logging.getLogger("api.batches")
AT_ONCE = 2
"""Batches that one process works on at the same time."""
LOOK_S = 2.0
"""How often to look where no batch is known to be due: one may be made at another process."""
LATER_S = 10.0
"""Pause after a turn that failed."""


class BatchRunner:
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
