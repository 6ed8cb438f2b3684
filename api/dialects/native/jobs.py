"""/v1/jobs: a job, its events and its receipt, as this service's own API writes them.

Times are Unix seconds with milliseconds; paths in `urls` are relative. Errors are problem details (RFC 9457).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, cast, get_args

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import FinishWord, ToolCall, finish_of, split_answer, to_tool_calls
from api.dialects.fields import BriefError, PageAnswer, seconds, to_page
from api.dialects.logprobs import ChatTokenLogprob, to_content
from api.dialects.media import PictureUsage, to_picture
from api.dialects.openai.errors import ReadyTime, ready_time, status_of
from api.dialects.openai.usage import TokensSoFar
from api.dialects.webhooks import WebhookState, to_hook
from shared import job, result
from shared.errors import CODES, ServiceError
from shared.job import CacheWord, Computed, JobView, Page, Priority, Status, WaitingReason
from shared.result import logprobs_of
from shared.tool_calls.thoughts import split_thoughts


class JobUrls(TypedDict):
    self: str
    cancel: str
    retry: str
    events: str


class JobAttempt(TypedDict):
    """`error` says why it failed, where it was to be tried again."""

    number: int
    worker: str
    started_at: float
    ended_at: float | None
    outcome: str | None
    error: NotRequired[BriefError]


class JobUsage(TokensSoFar):
    """Part of `prompt_tokens` are `image_tokens`, and `cached_tokens`, which were known already."""

    image_tokens: int
    cached_tokens: int
    pictures: NotRequired[Annotated[list[PictureUsage], Field(description="Where pictures were sent.")]]
    audio_tokens: NotRequired[Annotated[int, Field(description="Where sounds were sent.")]]
    reasoning_tokens: NotRequired[Annotated[int, Field(description="Where the model thought first.")]]


class JobChoice(TypedDict):
    """`text` is all that the model wrote, without its thoughts; `content` and `tool_calls` come where it
    calls functions.
    """

    text: str
    reasoning: NotRequired[Annotated[str, Field(description="What the model thought first.")]]
    finish_reason: FinishWord
    score: float | None
    content: NotRequired[Annotated[str | None, Field(description="The words beside its calls.")]]
    tool_calls: NotRequired[list[ToolCall]]
    logprobs: NotRequired[Annotated[list[ChatTokenLogprob], Field(description="With logprobs.")]]


class JobResult(TypedDict):
    """`text` and `reasoning` are those of the first choice."""

    text: str
    reasoning: NotRequired[str]
    choices: list[JobChoice]
    usage: JobUsage
    fingerprint: str
    compute_s: float


class ReceiptModel(TypedDict):
    """Beside the id what the fingerprint is over; `files` is a digest of weights, processor and template.

    `max_side` is what the longer side of pictures was shrunk to.
    """

    id: str
    engine: NotRequired[str]
    revision: NotRequired[str]
    files: NotRequired[str]
    max_side: NotRequired[int | None]
    dtype: NotRequired[str]
    device: NotRequired[str]


class ReceiptRun(TypedDict):
    """`job` is the one that it was begun for; null where that is not yours."""

    id: str
    job: str | None


class ReceiptTimings(TypedDict):
    """Of the run: a cached answer was computed before its job was created."""

    queued_at: float | None
    started_at: float | None
    first_token_at: float | None
    ended_at: float | None
    compute_s: float


class Receipt(TypedDict):
    """How the answer came about. `parameters` are those in effect, with the seed of what was drawn."""

    request_hash: str | None
    fingerprint: str
    model: ReceiptModel
    parameters: dict[str, Any]
    cache: CacheWord | None
    run: ReceiptRun
    attempts: int | None
    timings: ReceiptTimings
    usage: JobUsage


class Estimate(TypedDict):
    """Seconds until the job begins, half and nine tenths of the time, and how long it then takes to its end.

    It begins as a worker claims it; `service_s` has its wait for a row there. `basis` says what they rest on.
    """

    p50: float
    p90: float
    service_s: float
    basis: str


class JobError(TypedDict):
    """Why a job failed, as its record keeps it."""

    code: str
    message: str
    param: str | None
    retryable: bool


class JobQuestion(TypedDict):
    """The beginning of what was asked last, in one line, and how many pictures came with the question."""

    text: str
    pictures: int


class Job(TypedDict):
    """Times are Unix seconds, paths in `urls` are relative to the service."""

    id: str
    object: Literal["job"]
    status: Status
    model: str
    priority: Priority
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: list[JobAttempt]
    cache: CacheWord | None
    metadata: dict[str, str]
    urls: JobUrls
    question: NotRequired[Annotated[JobQuestion, Field(description="While it is kept.")]]
    waiting_reason: NotRequired[Annotated[WaitingReason, Field(description="While it waits.")]]
    ahead: NotRequired[Annotated[int, Field(description="Runs that will be begun before this one.")]]
    estimate: NotRequired[Annotated[Estimate, Field(description="While it waits in line.")]]
    result: NotRequired[Annotated[JobResult, Field(description="Of a job that succeeded.")]]
    answer: NotRequired[
        Annotated[str, Field(description="With `results=false`: the beginning of the answer.")]
    ]
    receipt: NotRequired[Annotated[Receipt, Field(description="Of a job that succeeded.")]]
    error: NotRequired[Annotated[JobError, Field(description="Of a job that failed.")]]
    finish_by: NotRequired[float]
    retry_of: NotRequired[Annotated[str, Field(description="The job that this one tries again.")]]
    batch: NotRequired[Annotated[str, Field(description="The batch, or job of pages, that it is a line of.")]]
    webhook: NotRequired[Annotated[WebhookState, Field(description="Where it has one.")]]
    store: NotRequired[
        Annotated[bool, Field(description="`false` where it is forgotten once its end was told.")]
    ]


class JobList(PageAnswer):
    """`next` is what to send as `after` for the page that follows; a short or empty page may have one.

    A page of long answers is short: it has at most 2 MiB of records, or one job.
    """

    data: list[Job]
    next: str | None


class CancelledJob(TypedDict):
    """Either its status, or why it is as it was."""

    id: str
    status: NotRequired[Status]
    error: NotRequired[BriefError]


class StatusCounts(TypedDict):
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class JobCounts(TypedDict):
    """Of the newest 1,000 jobs; `complete` where there are no more."""

    object: Literal["job.counts"]
    counts: StatusCounts
    complete: bool


class CancelledJobs(TypedDict):
    """In the order in which they were named."""

    object: Literal["list"]
    data: list[CancelledJob]


class JobEvent(TypedDict):
    """The data of an event; `succeeded`, `failed` and `cancelled` are last and hold the job."""

    at: float
    job_id: NotRequired[str]
    attempt: NotRequired[Annotated[int, Field(description="running")]]
    reason: NotRequired[Annotated[str, Field(description="requeued")]]
    choice: NotRequired[Annotated[int, Field(description="text, with n: its place in the result's choices")]]
    start: NotRequired[
        Annotated[int, Field(description="text: where it begins in its answer, in code points")]
    ]
    text: NotRequired[Annotated[str, Field(description="text")]]
    reasoning: NotRequired[Annotated[str, Field(description="text: a part of what the model thinks first")]]
    ids: NotRequired[Annotated[list[int], Field(description="text: its tokens")]]
    logprobs: NotRequired[Annotated[list[ChatTokenLogprob], Field(description="text, with logprobs")]]
    job: NotRequired[Annotated[Job, Field(description="The job as it ended.")]]


class Problem(ReadyTime):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: NotRequired[str]
    retryable: bool
    request_id: str


def to_job(view: JobView) -> Job:
    """Fields that are unknown or do not apply at this status are left out."""
    url = f"/v1/jobs/{view.id}"
    answer: Job = {
        "id": view.id,
        "object": "job",
        "status": view.status,
        "model": view.model,
        "priority": view.priority,
        "created_at": view.created_ms / 1000,
        "started_at": seconds(view.started_ms),
        "ended_at": seconds(view.ended_ms),
        "attempts": [_attempt(attempt) for attempt in view.attempts],
        "cache": view.cache,
        "metadata": view.metadata,
        "urls": {"self": url, "cancel": f"{url}/cancel", "retry": f"{url}/retry", "events": f"{url}/events"},
    }
    optional = {
        "question": view.question and {"text": view.question.text, "pictures": view.question.pictures},
        "waiting_reason": view.waiting_reason,
        "ahead": view.ahead,
        "estimate": view.estimate and to_estimate(view.estimate),
        "result": view.result and to_result(view.id, view.result),
        "answer": view.answer,
        "receipt": view.result and view.computed and to_receipt(view, view.result, view.computed),
        "error": view.error and view.error.model_dump(),
        "finish_by": seconds(view.finish_by_ms),
        "retry_of": view.retry_of,
        "batch": view.batch,
        "webhook": view.hook and to_hook(view.hook),
        "store": None if view.stored else False,
    }
    return cast(Job, answer | known(optional))


def known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def to_receipt(view: JobView, result: result.Result, computed: Computed) -> Receipt:
    """Which computation gave the answer, with what, when and for how much: answers that differ have receipts
    that differ. Times are the run's: for a cached answer they are earlier than the job's own.
    """
    origin = result.origin
    return {
        "request_hash": view.request_hash,
        "fingerprint": result.fingerprint,
        "model": cast(ReceiptModel, {"id": view.model} | ({} if origin is None else origin.made_of)),
        "parameters": {} if origin is None else origin.parameters,
        "cache": view.cache,
        "run": {"id": computed.run, "job": computed.job},
        "attempts": computed.attempts,
        "timings": {
            "queued_at": seconds(computed.queued_ms),
            "started_at": seconds(computed.started_ms),
            "first_token_at": seconds(computed.first_text_ms),
            "ended_at": seconds(computed.ended_ms),
            "compute_s": result.compute_s,
        },
        "usage": _usage(result.usage),
    }


def to_list(page: Page) -> JobList:
    rows = [to_job(view) for view in page.views]
    return {**to_page(rows, has_more=page.next is not None), "next": page.next}


def to_counts(counts: Mapping[Status, int], *, complete: bool) -> JobCounts:
    whole = {status: counts.get(status, 0) for status in get_args(Status)}
    return {"object": "job.counts", "counts": cast(StatusCounts, whole), "complete": complete}


def to_cancelled(outcomes: Mapping[str, JobView | ServiceError]) -> CancelledJobs:
    return {"object": "list", "data": [_cancelled(id, outcome) for id, outcome in outcomes.items()]}


def _cancelled(id: str, outcome: JobView | ServiceError) -> CancelledJob:
    if isinstance(outcome, JobView):
        return {"id": id, "status": outcome.status}
    return {"id": id, "error": {"code": outcome.code, "message": outcome.message}}


def to_event(event: job.Event, view: JobView) -> tuple[str, int, JobEvent]:
    """Name, id and data of one server-sent event; the last event carries the ended job."""
    at = event.at_ms / 1000
    if event.last:
        return event.type, event.id, {"job": to_job(view), "at": at}
    data = {name: value for name, value in event.data.items() if name not in _INTERNAL}
    logprobs = logprobs_of(event.data)
    if logprobs is not None:
        data["logprobs"] = to_content(logprobs)
    return event.type, event.id, cast(JobEvent, {"job_id": view.id, "at": at, **data})


_INTERNAL = ("syntax", "written", "prompt_tokens")
"""Data of events that callers are not shown."""


def to_problem(error: ServiceError | result.JobError, request_id: str) -> Problem:
    problem = {
        "type": f"urn:sightline:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status_of(error.code),
        "detail": error.message,
        "code": error.code,
        "retryable": CODES[error.code].retryable if error.code in CODES else error.retryable,
        "request_id": request_id,
    }
    return cast(Problem, {**problem, **known({"param": error.param}), **ready_time(error)})


def to_result(job: str, result: result.Result) -> JobResult:
    choices = [_choice(job, result, number) for number in range(len(result.choices))]
    answer = {
        "text": choices[0]["text"],
        "choices": choices,
        "usage": _usage(result.usage),
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }
    return cast(JobResult, answer | known({"reasoning": choices[0].get("reasoning")}))


def _usage(usage: result.Usage) -> JobUsage:
    answer = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "image_tokens": usage.image_tokens,
        "cached_tokens": usage.cached_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    optional = {
        "pictures": [to_picture(picture) for picture in usage.pictures] or None,
        "audio_tokens": usage.audio_tokens or None,
        "reasoning_tokens": usage.reasoning_tokens or None,
    }
    return cast(JobUsage, answer | known(optional))


def _choice(job: str, result: result.Result, number: int) -> JobChoice:
    choice = result.choices[number]
    parts = split_answer(choice.text, result.syntax)
    thoughts, text = split_thoughts(choice.text, result.syntax)
    answer: dict[str, Any] = {
        "text": text,
        "finish_reason": finish_of(choice.finish_reason, len(parts.calls)),
        "score": choice.score,
    }
    if parts.calls:
        answer |= {"content": parts.text, "tool_calls": to_tool_calls(job, number, parts.calls)}
    logprobs = None if choice.logprobs is None else to_content(choice.logprobs)
    return cast(JobChoice, answer | known({"reasoning": thoughts or None, "logprobs": logprobs}))


def _attempt(attempt: job.Attempt) -> JobAttempt:
    shown = {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": attempt.started_ms / 1000,
        "ended_at": seconds(attempt.ended_ms),
        "outcome": attempt.outcome,
    }
    error = attempt.error and {"code": attempt.error.code, "message": attempt.error.message}
    return cast(JobAttempt, shown | known({"error": error}))


def to_estimate(estimate: job.Estimate) -> Estimate:
    return cast(Estimate, dict(vars(estimate)))
