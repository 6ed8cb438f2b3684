"""The background work on batches: every API process takes up the batch whose turn it is, under a lease.

When a process dies, its batches go to others once their leases run out.
"""

import asyncio
import logging
from contextlib import suppress

from api.batches.context import BatchContext
from api.batches.leased_batch import LeasedBatch, LeaseLostError
from api.batches.work import IDLE_S, Work
from shared import ids
from shared.batch import Turn
from shared.errors import Unavailable
from shared.store import batches

log = logging.getLogger(__name__)
AT_ONCE = 2
"""Batches that one process works on at the same time."""
LONG_AT_ONCE = 1
"""Batches with a long turn that it works on besides, so that no other batch waits for one."""
LOOK_S = 2.0
"""How often to look where no batch is known to be due: one may be made at another process."""


class BatchRunner:
    """The background task of an API process."""

    def __init__(self, context: BatchContext) -> None:
        self._context = context
        self._heard = asyncio.Event()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._free_for_long = asyncio.Semaphore(LONG_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._add(asyncio.create_task(self._go_round(), name="batches"))

    def look_now(self) -> None:
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
            found = await self._taken()
            if isinstance(found, Turn):
                self._add(asyncio.create_task(self._work(found), name=f"batch {found.batch.id}"))
                continue
            self._free.release()
            # `wait_for` would lose a cancellation that comes at the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(found):
                    await self._heard.wait()
            self._heard.clear()

    async def _taken(self) -> Turn | float:
        """A batch to work on, or after how many seconds to look again."""
        try:
            found = await self._context.store.run(batches.take(self._context.settings, ids.token()))
        except Unavailable as error:
            log.warning("batches wait: %s", error.message)
            return LOOK_S
        except Exception:
            # The outermost frame of a round: a bad record must not end the work on all batches.
            log.exception("no batch could be taken up")
            return LOOK_S
        return found if isinstance(found, Turn) else min(LOOK_S, LOOK_S if found is None else found)

    async def _work(self, turn: Turn) -> None:
        work = asyncio.current_task()
        keeping = asyncio.create_task(self._keep(turn, work))
        try:
            pause_s = await self._done(Work(LeasedBatch(self._context, turn)))
            if pause_s is None:
                # Not with `leave`: that would record that the batch's bytes are there.
                await self._context.store.run(batches.keep(turn, IDLE_S))
            else:
                await self._context.store.run(batches.keep(turn, pause_s, leave=True))
        except LeaseLostError:
            log.info("batch %s is another process's, or has ended", turn.batch.id)
        except Unavailable as error:
            log.warning("batch %s waits: %s", turn.batch.id, error.message)
        except Exception:
            # The outermost frame of a turn: the batch comes up again when its lease ends.
            log.exception("the work on batch %s failed", turn.batch.id)
        finally:
            keeping.cancel()
            self.look_now()

    async def _done(self, work: Work) -> float | None:
        """Run the turn, then free its place. None where the place for a long turn is taken."""
        place = self._free
        try:
            if work.long:
                if self._free_for_long.locked():
                    # Do not wait for it: another process may have its own free, and this one's may hang.
                    return None
                await self._free_for_long.acquire()
                place.release()
                place = self._free_for_long
            return await work.run()
        finally:
            place.release()

    async def _keep(self, turn: Turn, work: "asyncio.Task[None] | None") -> None:
        """Renew the lease while this process works on the batch; stop the work where the lease is lost."""
        while True:
            await asyncio.sleep(batches.LEASE_S / 3)
            with suppress(Unavailable):
                if await self._context.store.run(batches.keep(turn, batches.LEASE_S)) == "lost" and work:
                    work.cancel()

    def _add(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
