"""Cancels the jobs of callers that disconnect before their answer.

Only where the answer is the result itself, and only without an Idempotency-Key. A client that times out
repeats its POST at once: the grace time lets the repeat join the run before the first job leaves it.
"""

import asyncio
import logging
from typing import NamedTuple

from api.jobs.service import Jobs
from shared.errors import CallerError

log = logging.getLogger("api.jobs")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Pauses between tries while the store is away: they double from the first to the longest."""


class JobReference(NamedTuple):
    """What is needed to cancel a job."""

    caller: str
    id: str
    stored: bool


class Disconnects:
    """Cancels the job of a caller that disconnected, `grace_s` later."""

    def __init__(self, jobs: Jobs, grace_s: float) -> None:
        self._jobs = jobs
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def cancel_later(self, job: JobReference, *, at_once: bool = False, retry_after_s: float = 0) -> None:
        """Cancel the job after its grace time; `at_once` where its call was refused: nobody comes back.

        The grace time begins at the Retry-After that its caller was given.
        """
        grace_s = 0 if at_once else retry_after_s + self._grace_s
        task = asyncio.create_task(self._cancel_after(grace_s, job), name=f"cancel {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Drop all pending cancellations: callers cut off by the end of this process have not left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cancel_after(self, grace_s: float, job: JobReference) -> None:
        await asyncio.sleep(grace_s)
        pause_s = FIRST_PAUSE_S
        while not await self._cancel(job):
            if pause_s == FIRST_PAUSE_S:
                log.warning("job %s of a caller who left is cancelled when the store is back", job.id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _cancel(self, job: JobReference) -> bool:
        """Cancel the job; False where the store was away and must be asked again."""
        try:
            if job.stored:
                await self._jobs.cancel(job.caller, job.id)
            else:
                await self._jobs.purge(job.caller, job.id)
        except CallerError:
            log.debug("job %s of a caller who left is gone already", job.id)
        except Exception:
            # The outermost frame of this task: what the store refuses today it may take later.
            log.debug("job %s could not be cancelled", job.id, exc_info=True)
            return False
        return True
