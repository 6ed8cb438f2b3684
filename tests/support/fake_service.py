"""The service behind the routes, in memory and scripted by the test.

Stands for Submission, Jobs and Waiting where a test needs an answer the real ones give only when something
breaks. What it was asked lies in `asked`; `script` is called with each new job's id.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any

from api.admission.submission import Submission, Terms
from api.dialects.native.models import ModelState
from api.jobs.service import Jobs
from api.jobs.waiting import Over, Waiting
from api.server.memory_budget import Reservation
from shared.errors import CallerError, Unavailable
from shared.estimate import Lane
from shared.fleet import Fleet, Worker
from shared.job import EVERYTHING, CacheWord, Event, Filter, JobRequest, JobView, Page, Status
from shared.models import Model
from shared.request import Request
from shared.result import Choice, JobError, Result, Usage
from shared.store.workers import CLASSES

CREATED_MS = 1_760_000_000_000
IDLE = Lane(ready=0, loading=0, queued=0, running=0, now_ms=0)
READY = ModelState(replace(IDLE, ready=1), estimated_time=0.0, basis="measured")
NO_WORKER = ModelState(replace(IDLE, queued=2), estimated_time=7.5, basis="guess")


class FakeService(Submission, Jobs, Waiting):
    """One process's jobs."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, Terms]] = []
        self.views: dict[str, JobView] = {}
        self.stories: dict[str, list[Event]] = {}
        self.script: Callable[[str], None] | None = None
        self.refusal: Exception | None = None
        self.cache: CacheWord = "MISS"
        self.states = {"sightline/tiny": READY}
        self.breaks_off = False
        self.submitted = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._changed = asyncio.Event()

    def run(self, job: str) -> None:
        self._set(job, status="running", started_ms=CREATED_MS + 500, waiting_reason=None, ahead=None)
        self._tell(job, "running", {"attempt": 1})

    def say(self, job: str, text: str) -> None:
        start = sum(len(e.data["text"]) for e in self.stories[job] if e.type == "text")
        self._tell(job, "text", {"start": start, "text": text, "ids": list(range(len(text.split())))})

    def succeed(self, job: str, text: str = "", *, score: float | None = 0.5) -> None:
        said = "".join(e.data["text"] for e in self.stories[job] if e.type == "text") + text
        if text:
            self.say(job, text)
        result = Result(
            choices=(Choice(text=said, finish_reason="stop", score=score),),
            usage=Usage(prompt_tokens=9, completion_tokens=3, image_tokens=4),
            fingerprint="f" * 32,
            compute_s=0.25,
        )
        self._end(job, "succeeded", result=result)

    def fail(self, job: str, code: str = "invalid_image", message: str = "The picture is broken.") -> None:
        error = JobError(code=code, message=message, param="messages.0")
        self._end(job, "failed", error=error)

    def end_without_result(self, job: str) -> None:
        """It succeeded, and its answer is no longer kept."""
        self._end(job, "succeeded")

    def lose_model(self, job: str, reason: str) -> None:
        """No worker can load the model; the job stays in the line."""
        self._set(job, model_failed=reason)
        self._wake()

    def lose_worker(self, job: str) -> None:
        """It dies, and there is no other."""
        self._set(job, waiting_reason="no_worker")
        self._tell(job, "requeued", {"reason": "worker_died"})

    def lose_store(self, retry_after: float = 0) -> None:
        """It is away until `refusal` is None again."""
        message = "The record store is out of reach."
        self.refusal = Unavailable("store_unavailable", message, retry_after=retry_after)
        self._wake()

    def _end(self, job: str, status: Any, **fields: Any) -> None:
        self._set(job, status=status, ended_ms=CREATED_MS + 1500, waiting_reason=None, ahead=None, **fields)
        error = fields.get("error")
        self._tell(job, status, error.model_dump() if error else {})

    def _set(self, job: str, **fields: Any) -> None:
        self.views[job] = replace(self.views[job], **fields)

    def _tell(self, job: str, kind: str, data: dict[str, Any]) -> None:
        story = self.stories[job]
        story.append(Event(len(story) + 1, kind, data, CREATED_MS + 1000))
        self._set(job, last_event=len(story))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def submit(self, request: Request, terms: Terms, _: Reservation | None = None) -> JobView:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((request, terms))
        job = f"job_{len(self.asked):032x}"
        self.views[job] = JobView(
            id=job,
            caller=terms.caller.id,
            model=request.model,
            status="queued",
            created_ms=CREATED_MS,
            waiting_reason="busy",
            ahead=3,
            cache=self.cache,
            metadata=terms.metadata,
            priority=terms.priority,
            response=terms.origin.response,
        )
        self.stories[job] = []
        self._tell(job, "queued", {})
        if self.script is not None:
            self.script(job)
        self.submitted.set()
        return self.views[job]

    async def get(self, caller: str, job_id: str) -> JobView:
        if self.refusal is not None:
            raise self.refusal
        view = self.views.get(job_id)
        if view is None or view.caller != caller:
            raise CallerError("job_not_found", "There is no such job.")
        return view

    async def response(self, caller: str, job_id: str, param: str | None = None) -> JobView:
        view = self.views.get(job_id)
        if view is None or view.caller != caller or view.response is None:
            raise CallerError("response_not_found", "There is no such response.", param=param)
        return view

    async def request_of(self, view: JobView, param: str | None) -> Request:  # noqa: ARG002
        return self.asked[int(view.id.removeprefix("job_"), 16) - 1][0]

    async def stored_request(self, caller: str, job_id: str) -> JobRequest:
        view = await self.get(caller, job_id)
        request = self.asked[int(job_id.removeprefix("job_"), 16) - 1][0]
        return JobRequest(view.status, request.model_dump_json(), view.metadata, view.priority, {})

    async def list(
        self,
        caller: str,
        *,
        limit: int,
        after: str | None,
        filters: Filter = EVERYTHING,
        results: bool = True,
    ) -> Page:
        rows = [v for v in reversed(self.views.values()) if v.caller == caller]
        rows = [v for v in rows if not filters.statuses or v.status in filters.statuses]
        rows = [v for v in rows if filters.model in (None, v.model)]
        ids = [v.id for v in rows]
        rows = rows[ids.index(after) + 1 :] if after else rows
        shown = rows[:limit] if results else [replace(v, result=None) for v in rows[:limit]]
        return Page(tuple(shown), rows[limit - 1].id if len(rows) > limit else None)

    async def status_counts(self, caller: str, filters: Filter) -> tuple[dict[Status, int], bool]:
        page = await self.list(caller, limit=len(self.views) + 1, after=None, filters=filters)
        return dict(Counter(view.status for view in page.views)), page.next is None

    async def abandon(self, caller: str, job_id: str, keep_s: float) -> int | None:  # noqa: ARG002
        if self.refusal is not None:
            raise self.refusal
        return None

    async def cancel(self, caller: str, job_id: str, abandoned: int | None = None) -> JobView:  # noqa: ARG002
        view = await self.get(caller, job_id)
        if not view.ended:
            self._end(job_id, "cancelled")
            self.cancelled.set()
        return self.views[job_id]

    async def purge(self, caller: str, job_id: str, abandoned: int | None = None) -> None:  # noqa: ARG002
        await self.get(caller, job_id)
        del self.views[job_id]

    async def model_state(self, model: Model) -> ModelState:
        if self.refusal is not None:
            raise self.refusal
        return self.states.get(model.id, NO_WORKER)

    async def fleet(self, models: Sequence[Model]) -> tuple[Fleet, ...]:
        if self.refusal is not None:
            raise self.refusal
        return tuple(_idle_fleet() for _ in models)

    async def couriers(self) -> tuple[Fleet, tuple[int, int, int]]:
        return _idle_fleet(), (0, 0, 0)

    async def until_ended(self, view: JobView, timeout_s: float, over: Over) -> JobView:
        try:
            async with asyncio.timeout(timeout_s):
                while not over(self.views[view.id]):
                    if self.refusal is not None:
                        raise self.refusal
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.views[view.id]

    async def events(self, view: JobView, after: int, idle_s: float) -> AsyncGenerator[Event | None]:
        sent = after
        while True:
            if self.refusal is not None:
                raise self.refusal
            for event in self.stories[view.id][sent:]:
                sent = event.id
                yield event
                if event.last:
                    return
            if len(self.stories[view.id]) > sent:
                continue
            if self.views[view.id].ended or self.breaks_off:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), idle_s)
            except TimeoutError:
                yield None


def _idle_fleet() -> Fleet:
    worker = Worker("worker_1", "ready", host="here", pid=1, since=1.0, rows=4)
    lane = Lane(ready=1, loading=0, queued=0, running=0, now_ms=CREATED_MS, engine="echo")
    return Fleet(lane, dict.fromkeys(CLASSES, 0), None, (worker,))


def answering(*pieces: str) -> FakeService:
    """Every job says `pieces` and succeeds as it is submitted."""
    service = FakeService()

    def script(job: str) -> None:
        service.run(job)
        for piece in pieces[:-1]:
            service.say(job, piece)
        service.succeed(job, pieces[-1])

    service.script = script
    return service


def failing(*pieces: str, code: str = "stream_broken") -> FakeService:
    """Every job says `pieces` and fails as it is submitted."""
    service = FakeService()

    def script(job: str) -> None:
        for piece in pieces:
            service.say(job, piece)
        service.fail(job, code, "It broke.")

    service.script = script
    return service
