"""Callers who hang up before their answer.

Only a call whose answer is the result leaves, and only without an Idempotency-Key. A client's own time-out
repeats the POST at once: the grace lets the repeat join the run before the first job leaves it.
"""

import asyncio
import logging

from api.jobs import Jobs
from shared.errors import ServiceError
from shared.job import JobView

log = logging.getLogger(__name__)


class Leaving:
    """Cancels the job of a caller who left, `grace_s` later."""

    def __init__(self, jobs: Jobs, grace_s: float) -> None:
        self._jobs = jobs
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def left(self, view: JobView, *, at_once: bool = False) -> None:
        """`at_once` where nobody comes back for it: its call was refused."""
        grace_s = 0 if at_once else self._grace_s
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
        try:
            if view.stored:
                await self._jobs.cancel(view.caller, view.id)
            else:
                await self._jobs.purge(view.caller, view.id)
        except ServiceError as error:
            log.warning("job %s of a caller who left was not cancelled: %s", view.id, error.code)
