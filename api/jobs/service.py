"""Reads and changes jobs after their admission."""

import base64
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from api.admission.readiness import model_state
from api.dialects.native.models import ModelState
from api.files import FileWriter
from shared.blobs import BlobMissingError, Blobs
from shared.errors import CallerError, ServiceError
from shared.fleet import Fleet
from shared.job import EVERYTHING, Filter, JobRequest, JobView, Page, Status
from shared.media import pictures
from shared.models import Model
from shared.request import Image, Request
from shared.settings import Settings
from shared.store import jobs as transitions
from shared.store import webhooks
from shared.store.keys import INTAKE
from shared.store.script import AsyncStore
from shared.store.workers import fleet as fleet_of

T = TypeVar("T")
log = logging.getLogger("api.jobs")
COUNTED = 1000
"""Jobs that are counted at most: five calls of two milliseconds of the store."""


class Jobs:
    """Jobs as their caller sees them; for a caller the jobs of others do not exist."""

    def __init__(self, settings: Settings, store: AsyncStore, blobs: Blobs) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._storing = FileWriter(store, blobs)

    async def get(self, caller: str, job_id: str) -> JobView:
        """Raises CallerError `job_not_found`, `result_expired`."""
        view = _require(await self._store.run(transitions.view(self._settings, caller, job_id)))
        if view.expired:
            raise CallerError("result_expired", "The result of this job is no longer kept.")
        return view

    async def list(
        self,
        caller: str,
        *,
        limit: int,
        after: str | None,
        filters: Filter = EVERYTHING,
        results: bool = True,
    ) -> Page:
        """A page, newest first, with or without `results`.

        Raises CallerError `job_not_found` where the cursor names no job.
        """
        call = transitions.jobs(
            self._settings, caller, after=after, limit=limit, wanted=filters, results=results
        )
        page = await self._store.run(call)
        if page is None:
            raise CallerError("job_not_found", "The cursor names no job of yours.", param="after")
        return page

    async def status_counts(self, caller: str, filters: Filter) -> tuple[dict[Status, int], bool]:
        """How many of a caller's newest jobs have each status, and whether these are all its jobs."""
        counts: Counter[Status] = Counter()
        after: str | None = None
        for _ in range(COUNTED // transitions.LOOK):
            some, after = await self._store.run(transitions.statuses(caller, filters, after))
            counts.update(some.values())
            if after is None:
                return dict(counts), True
        return dict(counts), False

    async def abandon(self, caller: str, job_id: str, keep_s: float) -> int | None:
        """For `keep_s` the same call finds the job; returns the moment, None where no call can."""
        return await self._store.run(transitions.abandon(caller, job_id, keep_s))

    async def cancel(self, caller: str, job_id: str, abandoned: int | None = None) -> JobView:
        """Harmless if repeated, and after the end. One that was `abandoned`: only where nobody came back.

        Raises CallerError `job_not_found`.
        """
        call = transitions.cancel(self._settings, caller, job_id, abandoned=abandoned)
        return _require(await self._store.run(call))

    async def cancel_all(self, caller: str, ids: Sequence[str]) -> dict[str, JobView | CallerError]:
        """What `cancel` returns or raises for each; one that fails otherwise fails them all."""

        async def outcome(id: str) -> JobView | CallerError:
            if id.startswith("batch_"):
                return CallerError("invalid_request", "A job of pages is cancelled by its own URL.")
            try:
                # One answer may be as large as all the statuses.
                return replace(await self.cancel(caller, id), result=None)
            except CallerError as error:
                return error

        # The store runs them one by one, between other callers' calls.
        return {id: await outcome(id) for id in ids}

    async def ended_request(self, caller: str, job_id: str) -> JobRequest:
        """An ended job's request. Raises CallerError `job_not_found`, `job_not_ended`, `result_expired`."""
        request = _require(await self._store.run(transitions.asked(caller, job_id)))
        if request.status is None:
            raise CallerError("job_not_ended", "The job has not ended yet.")
        return _require_request(request)

    async def stored_request(self, caller: str, job_id: str) -> JobRequest:
        """What a job asked, ended or not; nothing of one that is not stored.

        Raises CallerError `job_not_found`, `result_expired`.
        """
        request = await self._store.run(transitions.asked(caller, job_id))
        return _require_request(_require(request if request and request.stored else None))

    async def response(self, caller: str, job_id: str, param: str | None = None) -> JobView:
        """A job that is one of OpenAI's responses. Raises CallerError `response_not_found` naming `param`."""
        view = await self._store.run(transitions.view(self._settings, caller, job_id))
        if view is None or view.response is None:
            raise CallerError("response_not_found", "There is no such response.", param=param)
        return view

    async def request_of(self, view: JobView, param: str | None) -> Request:
        """A job's request, ended or not. Raises CallerError `result_expired` naming `param`."""
        request = await self._store.run(transitions.asked(view.caller, view.id))
        if request is None or request.request is None or view.expired:
            raise CallerError("result_expired", "This response is no longer kept.", param=param)
        return Request.model_validate_json(request.request)

    async def picture(self, image: Image) -> str:
        """A kept picture as a data: URI. Raises CallerError `result_expired`."""
        try:
            return await self._blobs.in_thread(self._data_uri, image)
        except BlobMissingError:
            raise CallerError("result_expired", "The pictures of this job are no longer kept.") from None

    def _data_uri(self, image: Image) -> str:
        """Reads all of it, so not for the event loop. Raises BlobMissingError."""
        data = self._blobs.read(image.digest or "")
        kind = pictures.inspect(data, self._settings.pictures, None).media_type
        return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"

    async def redeliver(self, caller: str, job_id: str) -> JobView | None:
        """Send a job's end to its webhook again; None for a job of pages.

        Raises CallerError `job_not_found`, `job_not_ended`, `result_expired`, and `invalid_request` where the
        job has no webhook.
        """
        outcome, view = _require(await self._store.run(webhooks.redeliver(self._settings, caller, job_id)))
        if outcome == "unended":
            raise CallerError("job_not_ended", "The job has not ended yet.")
        if outcome == "expired":
            raise CallerError("result_expired", "The result of this job is no longer kept.")
        if outcome == "unhooked":
            raise CallerError("invalid_request", "The job has no webhook.")
        return view

    async def redeliver_failed(self, caller: str, since_ms: int) -> int:
        """Send again all ends that failed to be delivered at `since_ms` or later; how many these are."""
        count, till_ms = await self._store.run(webhooks.redeliver_failed(self._settings, caller, since_ms))
        while till_ms is not None:
            call = webhooks.redeliver_failed(self._settings, caller, since_ms, till_ms)
            sent, till_ms = await self._store.run(call)
            count += sent
        return count

    async def fleet(self, models: Sequence[Model]) -> tuple[Fleet, ...]:
        return await self._store.run(fleet_of(self._settings, [model.lane for model in models]))

    async def couriers(self) -> tuple[Fleet, tuple[int, int, int]]:
        """The couriers with the jobs whose inputs are to be fetched, and the counts of webhook calls."""
        (fleet,) = await self._store.run(fleet_of(self._settings, [INTAKE]))
        return fleet, await self._store.run(webhooks.counts())

    async def purge(self, caller: str, job_id: str, abandoned: int | None = None) -> None:
        """`abandoned` as in `cancel`. Raises CallerError `job_not_found`."""
        call = transitions.purge(self._settings, caller, job_id, abandoned=abandoned)
        orphans = await self._store.run(call)
        await self._delete(_require(orphans))

    async def forget(self, view: JobView) -> None:
        """Forget a job that is not to be stored, after the answer that told its caller how it ended.

        Where that fails, the job expires by itself, `retention.unstored_s` after its end.
        """
        purge = transitions.purge(self._settings, view.caller, view.id, delivered=True)
        try:
            orphans = await self._store.run(purge)
            await self._delete(orphans or ())
        except ServiceError as error:
            log.warning("job %s was not forgotten at once: %s", view.id, error.code)

    async def _delete(self, pictures: Iterable[str]) -> None:
        for name in pictures:
            await self._storing.forget(name)

    async def model_state(self, model: Model) -> ModelState:
        return model_state(model, await self._store.run(transitions.lane(self._settings, model.lane)))


def _require_request(request: JobRequest) -> JobRequest:
    if request.request is None:
        raise CallerError("result_expired", "What this job asked is no longer kept.")
    return request


def _require(reply: T | None) -> T:
    if reply is None:
        raise CallerError("job_not_found", "There is no such job.")
    return reply
