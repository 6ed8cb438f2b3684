"""Callers who hang up before their answer.

Only a call whose answer is the result leaves, and only without an Idempotency-Key. A client's own time-out
repeats the POST at once: the grace lets the repeat join the run before the first job leaves it.
"""

import asyncio
import logging

from api.jobs.jobs import Jobs
from shared.errors import CallerError, Unavailable
from shared.job import JobView

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Between two tries while the store is away, and then from one to the next twice as long."""


class Leaving:
    """Cancels the job of a caller who left, `grace_s` later."""

    def __init__(self, jobs: Jobs, grace_s: float) -> None:
        self._jobs = jobs
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def left(self, view: JobView, *, at_once: bool = False, told_s: float = 0) -> None:
        """`at_once` where nobody comes back for it: its call was refused.

        `told_s` is the time after which its caller was told to ask again, from which the grace counts.
        """
        grace_s = 0 if at_once else told_s + self._grace_s
        task = asyncio.create_task(self._leave(view, grace_s), name=f"leave {view.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Forget them all: when this process stops, nobody leaves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _leave(self, view: JobView, grace_s: float) -> None:
        await asyncio.sleep(grace_s)
        pause_s = FIRST_PAUSE_S
        while not await self._done(view):
            if pause_s == FIRST_PAUSE_S:
                log.warning("job %s of a caller who left is cancelled when the store is back", view.id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _done(self, view: JobView) -> bool:
        """Cancel it; False where the store has to be asked again."""
        try:
            if view.stored:
                await self._jobs.cancel(view.caller, view.id)
            else:
                await self._jobs.purge(view.caller, view.id)
        except Unavailable:
            return False
        except CallerError:
            log.debug("job %s of a caller who left is gone already", view.id)
        return True
