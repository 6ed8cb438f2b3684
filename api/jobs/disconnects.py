"""Cancels the jobs of callers that disconnect before their answer.

Only where the answer is the result itself, and only without an Idempotency-Key. A client that times out
repeats its POST, at once or after a pause: until the grace time is over, the repeat finds the job. No client
repeats a stream whose text has begun: its job is cancelled at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from api.jobs.service import Jobs
from shared.backoff import backoff_s
from shared.errors import CallerError

T = TypeVar("T")
log = logging.getLogger("api.jobs")

MARK_S = 60
"""How much longer than its grace time the store remembers an abandoned job: it may be cancelled late."""


class JobReference(NamedTuple):
    caller: str
    id: str
    stored: bool


class Disconnects:
    """Cancels the job of a caller that disconnected, unless the caller comes back within `grace_s`."""

    def __init__(self, jobs: Jobs, grace_s: float) -> None:
        self._jobs = jobs
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def cancel_later(self, job: JobReference, *, retry_after_s: float = 0, at_once: bool = False) -> None:
        """Cancel the job after its grace time, which begins at the Retry-After that its caller was given."""
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
        caller, id = job.caller, job.id
        abandoned = None
        if grace_s:
            abandoned = await _insist(id, lambda: self._jobs.abandon(caller, id, grace_s + MARK_S))
            await asyncio.sleep(grace_s)
        if job.stored:
            await _insist(id, lambda: self._jobs.cancel(caller, id, abandoned))
        else:
            await _insist(id, lambda: self._jobs.purge(caller, id, abandoned))


async def _insist(job: str, act: Callable[[], Awaitable[T]]) -> T | None:
    """What `act` returns, once the store is there; None where the job is gone, or its caller came back."""
    failures = 0
    while True:
        try:
            return await act()
        except CallerError:
            log.debug("job %s of a caller who left is gone, or its caller came back", job)
            return None
        except Exception:
            # The outermost frame of this task: what the store refuses today it may take later.
            failures += 1
            if failures == 1:
                log.warning("job %s of a caller who left is cancelled when the store is back", job)
            log.debug("job %s could not be cancelled", job, exc_info=True)
        await asyncio.sleep(backoff_s(failures))
