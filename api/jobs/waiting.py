"""Waits for a job's end or its next event: subscribe, then read, then wait.

Polling alone would be correct; wake-ups only make it quick.
"""

import time
from collections.abc import AsyncGenerator, Callable

from api.jobs.reading import Reading, missing
from shared.job import Event, JobView
from shared.settings import Settings
from shared.store import jobs
from shared.store.script import AsyncStore
from shared.store.wakeups import Wakeups

POLL_S = 2.0
"""A lost wake-up delays its reader by at most this long."""


Over = Callable[[JobView], bool]


def ended(view: JobView) -> bool:
    return view.ended


class Waiting:
    """Lets many callers of a process wait on one subscription."""

    def __init__(self, settings: Settings, store: AsyncStore, wakeups: Wakeups) -> None:
        self._settings = settings
        self._store = store
        self._wakeups = wakeups

    async def until_ended(self, view: JobView, timeout_s: float, over: Over) -> JobView:
        """The job's newest view, once it ended, `over` says that it is enough, or the time is up.

        Raises as `missing`.
        """
        deadline = time.monotonic() + timeout_s
        while not over(view) and time.monotonic() < deadline:
            name = view.run_id or view.id
            async with self._wakeups.listen(name) as listener:
                listener.ignore_text()
                view = await self._read(view)
                while not over(view) and (view.run_id or view.id) == name:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return view
                    await listener.wait(min(left, POLL_S))
                    view = await self._read(view)
        return view

    async def events(self, view: JobView, after: int, idle_s: float) -> AsyncGenerator[Event | None]:
        """Every event after id `after`, to the terminal one; None whenever nothing came for `idle_s`.

        Raises CallerError `stream_rewound`, and as `missing`.
        """
        reading = Reading(self._store, view, after)
        due = time.monotonic() + idle_s
        while not reading.over:
            source = reading.source
            async with self._wakeups.listen(source) as listener:
                while reading.waits_for(source):
                    events = await reading.more()
                    for event in events:
                        yield event
                    if events:
                        due = time.monotonic() + idle_s
                    elif due <= time.monotonic():
                        yield None
                        due = time.monotonic() + idle_s
                    if reading.waits_for(source) and not reading.behind:
                        await listener.wait(min(due - time.monotonic(), POLL_S))

    async def _read(self, view: JobView) -> JobView:
        fresh = await self._store.run(jobs.view(self._settings, view.caller, view.id))
        if fresh is None:
            raise await missing(self._store, view)
        return fresh
