"""What a caller can read and change of jobs that were admitted."""

import asyncio
from contextlib import suppress
from typing import TypeVar

from api.readiness import ModelState, model_state
from shared.blobs import BlobMissingError, Blobs
from shared.errors import CallerError
from shared.job import JobView
from shared.models import Model
from shared.settings import Settings
from shared.store import hooks
from shared.store import jobs as transitions
from shared.store.script import AsyncStore
from shared.store.upkeep import pause

T = TypeVar("T")


class Jobs:
    """Reads and changes jobs of one caller; another's job does not exist for them."""

    def __init__(self, settings: Settings, store: AsyncStore, blobs: Blobs) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs

    async def get(self, caller: str, job_id: str) -> JobView:
        """Raises CallerError `job_not_found`, `result_expired`."""
        view = _found(await self._store.run(transitions.view(self._settings, caller, job_id)))
        if view.status == "succeeded" and view.result is None:
            raise CallerError("result_expired", "The result of this job is no longer kept.")
        return view

    async def list(
        self, caller: str, *, limit: int, after: str | None, status: str | None, model: str | None
    ) -> tuple[list[JobView], bool]:
        """A page, newest first, and whether there is more.

        Raises CallerError `job_not_found` where the cursor names no job.
        """
        found: list[JobView] = []
        while len(found) <= limit:
            page = await self._store.run(
                transitions.jobs(self._settings, caller, after=after, limit=limit + 1)
            )
            if page is None:
                raise CallerError("job_not_found", "The cursor names no job of yours.", param="after")
            found += [v for v in page if status in (None, v.status) and model in (None, v.model)]
            if len(page) <= limit:
                break
            after = page[-1].id
        return found[:limit], len(found) > limit

    async def cancel(self, caller: str, job_id: str) -> JobView:
        """Harmless twice and after the end. Raises CallerError `job_not_found`."""
        return _found(await self._store.run(transitions.cancel(self._settings, caller, job_id)))

    async def question(self, caller: str, job_id: str) -> transitions.Asked:
        """What an ended job asked. Raises CallerError `job_not_found`, `job_not_ended`, `result_expired`."""
        asked = _found(await self._store.run(transitions.asked(caller, job_id)))
        if asked.status is None:
            raise CallerError("job_not_ended", "The job has not ended yet.")
        if asked.request is None:
            raise CallerError("result_expired", "What this job asked is no longer kept.")
        return asked

    async def replay(self, caller: str, job_id: str) -> JobView:
        """Tell a job's webhook its end again.

        Raises CallerError `job_not_found`, `job_not_ended`, `result_expired`, and `invalid_request` where it
        has none.
        """
        word, view = _found(await self._store.run(hooks.replay(self._settings, caller, job_id)))
        if view is not None:
            return view
        if word == "unended":
            raise CallerError("job_not_ended", "The job has not ended yet.")
        if word == "expired":
            raise CallerError("result_expired", "The result of this job is no longer kept.")
        raise CallerError("invalid_request", "The job has no webhook.")

    async def pause(self, model: Model, *, paused: bool) -> None:
        """Stop the beginning of a model's jobs, or let it go on."""
        await self._store.run(pause(model.lane, paused=paused))

    async def purge(self, caller: str, job_id: str) -> None:
        """Raises CallerError `job_not_found`."""
        orphans = _found(await self._store.run(transitions.purge(self._settings, caller, job_id)))
        for name in orphans:
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        """Delete a picture, or write it again where that took so long that somebody relies on it by now."""
        with suppress(BlobMissingError):
            data = await asyncio.to_thread(self._blobs.read, name)
            await asyncio.to_thread(self._blobs.delete, name)
            if await self._store.run(transitions.deleted([name])):
                await self._blobs.write_async(name, data)

    async def model_state(self, model: Model) -> ModelState:
        return model_state(model, await self._store.run(transitions.lane(self._settings, model.lane)))


def _found(reply: T | None) -> T:
    if reply is None:
        raise CallerError("job_not_found", "There is no such job.")
    return reply
