"""Calls whose answer is the result of their job: submit, wait for the end, cancel if the caller leaves."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from api.admission.cached_answers import CachedAnswer
from api.admission.headers import Preferences, preferences
from api.admission.readiness import model_failed
from api.admission.submission import Terms, UnknownAdmission
from api.auth.callers import caller_of
from api.context import context_of
from api.jobs.disconnects import JobReference
from api.server.errors import from_job
from api.server.middleware import disconnected
from api.server.reply import reply_of
from shared.errors import CallerError, InternalError, ServiceError, Unavailable
from shared.job import JobView
from shared.request import Request
from shared.result import Result

T = TypeVar("T")


class SyncCall:
    """One call whose answer is the result of its job.

    When the call fails or its caller disconnects, the job is cancelled later, or at once if a stream's
    `text_sent`; except under an Idempotency-Key: that caller means to come back for the answer.
    """

    def __init__(self, http: HttpRequest, terms: Terms) -> None:
        self.http = http
        self.context = context_of(http)
        self._terms = terms
        self.text_sent = False

    async def submit(self, request: Request) -> JobView:
        """Admit the request and name its job in the answer's headers, whatever the answer becomes.

        Raises as `Submission.submit`.
        """
        reservation = reply_of(self.http).reservation
        try:
            job = await self.context.submission.submit(request, self._terms, reservation)
        except UnknownAdmission as error:
            reference = JobReference(self._terms.caller.id, error.job, self._terms.stored)
            # A store that was just out of reach is asked later, when it may be back.
            self.cancel_later(reference, retry_after_s=error.retry_after or 0)
            raise
        finally:
            await reservation.release()
        set_job_headers(self.http, job)
        return job

    async def answer(self, job: JobView) -> JobView:
        """The job, once it has succeeded.

        Raises the error that it ended with, ModelFailed, Unavailable `wait_exceeded` (the job goes on),
        ClientDisconnect.
        """
        if not job.ended:
            with self.cancel_on_error(job):
                job = await unless_disconnected(self.http, self._wait(job), self.on_disconnect(job))
        result_of(job)
        set_time_headers(self.http, job)
        return job

    def cancel_later(
        self, job: JobView | JobReference, *, retry_after_s: float = 0, at_once: bool = False
    ) -> None:
        if self._terms.idempotency is None and not isinstance(job, CachedAnswer):
            reference = JobReference(job.caller, job.id, job.stored)
            self.context.disconnects.cancel_later(reference, retry_after_s=retry_after_s, at_once=at_once)

    def on_disconnect(self, job: JobView) -> Callable[[], None]:
        return lambda: self.cancel_later(job, at_once=self.text_sent)

    @contextmanager
    def cancel_on_error(self, job: JobView) -> Iterator[None]:
        """Cancel the job, unless the caller only waited too long (`wait_exceeded`)."""
        try:
            yield
        except ServiceError as error:
            if error.code != "wait_exceeded":
                self.cancel_later(job, retry_after_s=error.retry_after or 0)
            elif self._terms.idempotency is None and job.cache == "BYPASS":
                # A repeat would not wait for this answer: it would have another computed beside it.
                reply_of(self.http).headers["x-should-retry"] = "false"
            raise

    async def _wait(self, job: JobView) -> JobView:
        """The job, once it has ended. Raises as `answer`.

        Where the caller prefers to wait, line breaks go before the answer meanwhile.
        """
        api, prefer = self.context.settings.api, ", ".join(self.http.headers.getlist("prefer"))
        waits = preferences(prefer).wait_s is not None
        breaks = [asyncio.ensure_future(reply_of(self.http).keep_alive(api.keepalive_s))] if waits else []
        try:
            # A job whose model failed never ends.
            is_over = lambda job: job.ended or job.model_failed is not None  # noqa: E731
            job = await self.context.waiting.until_ended(job, api.sync_limit_s, is_over)
        finally:
            await cancel_all(breaks)
        set_job_headers(self.http, job)
        check_model(job)
        if not job.ended:
            raise wait_exceeded(job, api.sync_limit_s)
        return job


async def wait_as_preferred(http: HttpRequest, job: JobView, preferences: Preferences) -> JobView:
    """The newest view, once the job ended or the caller's `Prefer: wait` is over.

    Raises ClientDisconnect where the caller disconnects first; the job goes on.
    """
    if preferences.wait_s:
        limit_s = context_of(http).settings.api.sync_limit_s
        job = await until_ended(http, job, min(preferences.wait_s, limit_s))
        set_job_headers(http, job)
    return job


async def until_ended(http: HttpRequest, job: JobView, limit_s: float) -> JobView:
    """The newest view, at the job's end or after `limit_s`. Raises ClientDisconnect; the job goes on."""
    return await unless_disconnected(
        http, context_of(http).waiting.until_ended(job, limit_s, lambda view: view.ended)
    )


async def unless_disconnected(
    http: HttpRequest, waiting: Coroutine[Any, Any, T], on_disconnect: Callable[[], None] | None = None
) -> T:
    """What `waiting` returns. Where the caller disconnects first: `on_disconnect`, then ClientDisconnect."""
    result = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(disconnected(http))
    try:
        await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if on_disconnect is not None:
            on_disconnect()
        raise ClientDisconnect
    finally:
        await cancel_all([result, gone])


async def cancel_all(tasks: Collection["asyncio.Future[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def result_of(job: JobView) -> Result:
    """An ended job's result.

    Raises the error it ended with, ServiceError `job_cancelled`, CallerError `result_expired`.
    """
    if job.result is not None:
        return job.result
    if job.error is not None:
        raise from_job(job.error)
    if job.status == "cancelled":
        raise ServiceError("job_cancelled", "The job was cancelled before it ended.")
    if job.expired:
        raise CallerError("result_expired", "The result of this job is no longer kept.")
    raise InternalError


def check_model(job: JobView) -> None:
    """Raises ModelFailed where waiting for the job's model is useless."""
    if job.model_failed is not None:
        raise model_failed(job.model, job.model_failed)


def wait_exceeded(job: JobView, limit_s: float) -> Unavailable:
    limit = f"{limit_s:g} s (SIGHTLINE_API__SYNC_LIMIT_S)"
    return Unavailable("wait_exceeded", f"No answer within {limit}; /v1/jobs/{job.id} goes on.")


def set_job_headers(http: HttpRequest, job: JobView) -> None:
    """Name the job in the answer's headers, and what is known of its cache by now.

    One that has ended and is not to be stored is forgotten after this answer.
    """
    headers = reply_of(http).headers
    if job.recorded_id:
        headers["x-job-id"] = job.recorded_id
    if job.cache:
        headers["x-cache"] = job.cache
    forget_after_answer(http, job)


def set_time_headers(http: HttpRequest, job: JobView) -> None:
    """The computing time of a succeeded job, and the rest of its time.

    A claimed run may still wait for a row in its worker's engine: all time not spent computing is queueing.
    """
    if job.result is not None and job.ended_ms is not None:
        queue_s = (job.ended_ms - job.created_ms) / 1000 - job.result.compute_s
        headers = reply_of(http).headers
        headers["x-compute-time"] = f"{job.result.compute_s:.3f}"
        headers["x-queue-time"] = f"{max(0.0, queue_s):.3f}"


def forget_after_answer(http: HttpRequest, *jobs: JobView) -> None:
    unstored = [replace(job, result=None) for job in jobs if job.ended and not job.stored]
    if unstored:
        reply_of(http).afterwards = partial(_forget, http, unstored)


async def _forget(http: HttpRequest, jobs: Sequence[JobView]) -> None:
    for job in jobs:
        await context_of(http).jobs.forget(job)


async def ended_job(http: HttpRequest, job: JobView) -> JobView:
    """The newest view of a job whose stream has ended."""
    if isinstance(job, CachedAnswer):
        return job
    newest = await context_of(http).jobs.get(job.caller, job.id)
    forget_after_answer(http, newest)
    return newest


def readable(http: HttpRequest, job: JobView) -> JobView:
    """An earlier job as its caller may see it: without its question and result where the key lacks `read`."""
    return job if caller_of(http).reads else replace(job, question=None, result=None)
