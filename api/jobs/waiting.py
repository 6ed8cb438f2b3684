"""Waits for a job's end or its next event: subscribe, then read, then wait.

Polling alone would be correct; wake-ups make it quick, and bring text that follows on what was read."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

from shared.errors import CallerError, ServiceError, Unavailable
from shared.job import Event, JobView
from shared.settings import Settings
from shared.store import jobs
from shared.store.script import AsyncStore, WritesRefused
from shared.store.views import EventPage, text_event
from shared.store.wakeups import Wakeups


async def missing(store: AsyncStore, view: JobView) -> ServiceError:
    """The error for a caller who waits for a job that is not there any more.

    CallerError `job_not_found` where it was deleted, or had ended and is no longer kept. Else the store lost
    it: Unavailable `store_unavailable`, since a repeated request will be answered.
    """
    if await store.run(jobs.purged(view.caller, view.id)):
        return CallerError("job_not_found", "The job was deleted.")
    if view.ended:
        return CallerError("job_not_found", "The job is no longer kept.")
    return Unavailable("store_unavailable", "The record store lost this job; ask again.", retry_after=1)


Over = Callable[[JobView], bool]


class EventReader:
    """Reads the events after the last one read.

    `source` is the id under which new events are announced: the job's while its inputs are fetched, then its
    run's. `over` says that no more will come; `behind` that the last reading did not give all there was.
    While text follows on text, the wake-ups bring all there is to read.
    """

    def __init__(self, store: AsyncStore, view: JobView, after: int) -> None:
        self._store = store
        self._view = view
        self._after = after
        self._seen: Event | None = None
        self._is_unread = True
        self.source = view.run_id or view.id
        self.over = self.behind = False

    def waits_for(self, source: str) -> bool:
        return not self.over and self.source == source

    async def more(self, texts: Sequence[str] | None) -> tuple[Event, ...]:
        """The next stretch of new events; empty where nothing is new. `texts` are those of a listener.

        Raises CallerError `stream_rewound` where the store lost events that were read (the answer may have
        taken other words since), and as `missing`.
        """
        events = None if texts is None else self._following(texts)
        return await self._stored() if events is None else events

    def _following(self, texts: Sequence[str]) -> tuple[Event, ...] | None:
        """The events of wake-ups, where each follows on the one before and the run knows that it is read."""
        if self._seen is None or self._seen.type != "text" or self._is_unread or self.behind:
            return None
        events = [event for event in map(text_event, texts) if event.id > self._after]
        if [event.id for event in events] != [self._after + 1 + at for at in range(len(events))]:
            return None
        if events:
            self._seen = events[-1]
            self._after = self._seen.id
        return tuple(events)

    async def _stored(self) -> tuple[Event, ...]:
        event_page = await self._read()
        if event_page is None:
            raise await missing(self._store, self._view)
        changed = self._seen is not None and event_page.seen != self._seen
        if event_page.forgot or (changed and not event_page.run_lost):
            raise CallerError("stream_rewound", "The store lost the end of this stream; read the job again.")
        if event_page.events:
            self._seen = event_page.events[-1]
            self._after = self._seen.id
        self.over = event_page.events[-1].last if event_page.events else event_page.ended
        self.behind = bool(event_page.events) and event_page.newest > self._after
        self.source = event_page.run_id or self.source
        return event_page.events

    async def _read(self) -> EventPage | None:
        job = self._view.caller, self._view.id, self._after
        event_page = await self._store.run(jobs.follow(*job))
        self._is_unread = event_page is not None and event_page.unread
        if self._is_unread:
            # A store that takes no writes now can still be read: the next read marks the run.
            with suppress(WritesRefused):
                event_page = await self._store.run(jobs.follow(*job, first=True))
                self._is_unread = False
        return event_page


FIRST_NEWS_S = 2.0
POLL_S, LONGEST_POLL_S = 2.0, 20.0
"""A reader who hears nothing for so long looks in the store: the longer it has waited, the less often."""


def _poll_s(waits_since: float) -> float:
    return min(max(POLL_S, (time.monotonic() - waits_since) / 10), LONGEST_POLL_S)


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
        began = time.monotonic()
        deadline = began + timeout_s
        while not over(view) and time.monotonic() < deadline:
            name = view.run_id or view.id
            async with self._wakeups.listen(name) as listener:
                listener.ignore_events()
                view = await self._read(view)
                while not over(view) and (view.run_id or view.id) == name:
                    remaining_s = deadline - time.monotonic()
                    if remaining_s <= 0:
                        return view
                    await listener.wait(min(remaining_s, _poll_s(began)))
                    view = await self._read(view)
        return view

    async def events(self, view: JobView, after: int, idle_s: float) -> AsyncGenerator[Event | None]:
        """Every event after id `after`, to the terminal one; None whenever nothing came for `idle_s`.

        The first None after an event comes sooner (`FIRST_NEWS_S`): its reader learns why the job waits.

        Raises CallerError `stream_rewound`, and as `missing`.
        """
        reading = EventReader(self._store, view, after)
        heard = time.monotonic()
        due = heard + min(idle_s, FIRST_NEWS_S)
        while not reading.over:
            source = reading.source
            async with self._wakeups.listen(source) as listener:
                while reading.waits_for(source):
                    events = await reading.more(listener.texts())
                    for event in events:
                        yield event
                    if events:
                        heard = time.monotonic()
                        due = heard + min(idle_s, FIRST_NEWS_S)
                    elif due <= time.monotonic():
                        yield None
                        due = time.monotonic() + idle_s
                    if reading.waits_for(source) and not reading.behind:
                        await listener.wait(min(due - time.monotonic(), _poll_s(heard)))

    async def _read(self, view: JobView) -> JobView:
        fresh = await self._store.run(jobs.view(self._settings, view.caller, view.id))
        if fresh is None:
            raise await missing(self._store, view)
        return fresh
