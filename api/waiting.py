"""Waiting for a job: subscribe, then read, then wait.

Reading alone would be correct; being woken is quick.
"""

import time
from collections.abc import AsyncGenerator

from shared.errors import CallerError
from shared.job import Event, JobView
from shared.settings import Settings
from shared.store import jobs
from shared.store.script import AsyncStore
from shared.store.wakeups import Wakeups

POLL_S = 2.0
"""A lost wake-up costs at most this much."""


class Waiting:
    """Lets many callers of one process wait on one subscription."""

    def __init__(self, settings: Settings, store: AsyncStore, wakeups: Wakeups) -> None:
        self._settings = settings
        self._store = store
        self._wakeups = wakeups

    async def until_ended(self, view: JobView, timeout_s: float) -> JobView:
        """The newest view; not ended where the time was over first. Raises CallerError `job_not_found`."""
        deadline = time.monotonic() + timeout_s
        while not view.ended and time.monotonic() < deadline:
            name = view.run_id or view.id
            async with self._wakeups.listen(name) as listener:
                listener.ignore_text()
                view = await self._read(view)
                while not view.ended and (view.run_id or view.id) == name:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return view
                    await listener.wait(min(left, POLL_S))
                    view = await self._read(view)
        return view

    async def events(self, view: JobView, after: int, idle_s: float) -> AsyncGenerator[Event | None]:
        """Every event behind id `after`, to the terminal one; None where nothing came for `idle_s`.

        Raises CallerError `job_not_found` where the job was purged meanwhile.
        """
        name = view.run_id or view.id
        while name:
            next_name = ""
            async with self._wakeups.listen(name) as listener:
                quiet_since = time.monotonic()
                while True:
                    chapter = await self._store.run(jobs.follow(view.caller, view.id, after))
                    if chapter is None:
                        raise CallerError("job_not_found", "The job was deleted.")
                    for event in chapter.events:
                        yield event
                        after = event.id
                        quiet_since = time.monotonic()
                        if event.last:
                            return
                    if chapter.ended and not chapter.events:
                        return
                    if chapter.run_id and chapter.run_id != name:
                        next_name = chapter.run_id
                        break
                    if not chapter.events:
                        left = quiet_since + idle_s - time.monotonic()
                        if left <= 0:
                            yield None
                            quiet_since = time.monotonic()
                        else:
                            await listener.wait(min(left, POLL_S))
            name = next_name

    async def _read(self, view: JobView) -> JobView:
        fresh = await self._store.run(jobs.view(self._settings, view.caller, view.id))
        if fresh is None:
            raise CallerError("job_not_found", "The job was deleted.")
        return fresh
